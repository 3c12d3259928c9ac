// ioredis, by the shapes of the stores that use it: a hash and a string per session, pipelines and transactions for every
// write, Lua by EVALSHA, SCAN for listing and logout. Arguments: the package, and the protocol where it takes one.

import { allBytes, cold, failure, finish, near, restart, say, server, someText, until } from './script.mjs';

const [library, protocol] = process.argv.slice(2);
const { Redis } = await import(library);
const options = protocol ? { ...server, protocol: Number(protocol) } : server;
const down = () => {}; // a lost connection is reported here, and repaired by the library
const connect = (more) => new Redis({ ...options, ...more }).on('error', down);

const bot = 'app:bot+5511988887777';
const peer = 'app:user@host';

async function strings(c) {
  say('set bytes', await c.set(`${bot}:creds`, allBytes));
  await cold();
  say('get bytes', await c.getBuffer(`${bot}:creds`));
  say('set text', await c.set(`${bot}:text`, someText));
  await cold();
  say('get text', (await c.get(`${bot}:text`)) === someText);
  await cold();
  say('append', await c.append(`${bot}:creds`, allBytes));
  await cold();
  say('setrange', await c.setrange(`${bot}:creds`, 300, 'xyz'));
  say('getrange', await c.getrangeBuffer(`${bot}:creds`, 290, 310));
  await cold();
  say('set nx', await c.set(`${bot}:creds`, 'other', 'NX'));
  await cold();
  say('getset', await c.getsetBuffer(`${bot}:creds`, 'second'));
  await cold();
  say('missing', await c.get(`${bot}:none`));
  say('incr', [await c.incr(`${bot}:n`), await cold(), await c.incrby(`${bot}:n`, 41)]);
  await cold();
  say('incrbyfloat', await c.incrbyfloat(`${bot}:n`, 0.5));
  say('mset', await c.mset(`${bot}:a`, 'one', `${peer}:a`, allBytes));
  await cold();
  say('mget', await c.mgetBuffer(`${bot}:a`, `${bot}:none`, `${peer}:a`));
  await cold();
  say('getdel', await c.getdel(`${bot}:a`));
  await cold();
  say('gone', [await c.get(`${bot}:a`), await c.exists(`${bot}:a`, `${peer}:a`)]);
  const key = Buffer.concat([Buffer.from(`${bot}:`), allBytes]);
  say('binary key', [await c.set(key, 'v'), await cold(), await c.get(key), await c.type(key)]);
}

async function hashes(c) {
  const fields = Object.fromEntries(Array.from({ length: 812 }, (_, n) => [`pre-key-${n}`, JSON.stringify({ n, key: allBytes.toString('base64') })]));
  say('hset', await c.hset(`${bot}:keys`, fields));
  await cold();
  say('hgetall', await c.hgetall(`${bot}:keys`));
  await cold();
  say('hmget', await c.hmget(`${bot}:keys`, 'pre-key-3', 'none', 'pre-key-811'));
  await cold();
  say('hset binary', await c.hset(`${bot}:keys`, allBytes, allBytes));
  await cold();
  say('hget binary', await c.hgetBuffer(`${bot}:keys`, allBytes));
  say('hdel', await c.hdel(`${bot}:keys`, 'pre-key-3', 'none'));
  await cold();
  say('hget deleted', await c.hget(`${bot}:keys`, 'pre-key-3'));
  say('hincrby', [await c.hincrby(`${bot}:h`, 'n', 5), await cold(), await c.hincrby(`${bot}:h`, 'n', 5)]);
  const seen = new Set();
  for await (const part of c.hscanStream(`${bot}:keys`, { match: 'pre-key-*', count: 100 })) {
    await cold();
    for (let n = 0; n < part.length; n += 2) seen.add(part[n]);
  }
  say('hscan', seen.size);
}

async function expiry(c) {
  say('setex', await c.setex(`${bot}:t`, 1000, 'v'));
  await cold();
  near('ttl', await c.ttl(`${bot}:t`), 1000, 100);
  say('expire', await c.expire(`${bot}:keys`, 2000));
  await cold();
  near('pttl', await c.pttl(`${bot}:keys`), 2000000, 100000);
  say('persist', [await c.persist(`${bot}:t`), await cold(), await c.ttl(`${bot}:t`)]);
  say('soon', await c.set(`${bot}:soon`, 'v', 'PX', 40));
  await cold();
  await until(async () => (await c.get(`${bot}:soon`)) === null);
  await cold();
  say('over', [await c.exists(`${bot}:soon`), await c.ttl(`${bot}:soon`)]);
}

async function batches(c) {
  const p = c.pipeline();
  for (let n = 0; n < 293; n++) p.set(`app:fleet${n % 7}:k${n}`, `v${n}`).get(`app:fleet${(n + 1) % 7}:k${n - 6}`);
  say('pipeline', await p.exec());
  await cold();
  say('multi', await c.multi().hset(`${bot}:h`, 'f', 'v').get(`${peer}:a`).hgetall(`${bot}:h`).incr(`${bot}:text`).exec());
  await cold();
  say('multi empty', await c.multi().get(`${bot}:none`).del(`${bot}:h`, `${bot}:none`).exec());
  await cold();
  say('discarded', await failure(c.multi().set(`${bot}:h`).exec()));
  const other = connect();
  await c.watch(`${bot}:w`);
  await other.set(`${bot}:w`, 'theirs');
  say('watch lost', await c.multi().set(`${bot}:w`, 'mine').exec());
  await cold();
  await c.watch(`${bot}:w`);
  say('watch won', await c.multi().set(`${bot}:w`, 'mine').get(`${bot}:w`).exec());
  await other.quit();
}

async function scripts(c) {
  c.defineCommand('putOnce', { numberOfKeys: 1, lua: 'if redis.call("EXISTS", KEYS[1]) == 1 then return redis.call("HGET", KEYS[1], ARGV[1]) end redis.call("HSET", KEYS[1], ARGV[1], ARGV[2]) return false' });
  say('evalsha', [await c.putOnce(`${bot}:lua`, 'f', 'first'), await cold(), await c.putOnce(`${bot}:lua`, 'f', 'second')]);
  await cold();
  say('eval', await c.evalBuffer('return {redis.call("GET", KEYS[1]), #ARGV[1], ARGV[1], 7}', 1, `${peer}:a`, allBytes));
  await cold();
  say('eval error', await failure(c.eval('return redis.call("INCR", KEYS[1])', 1, `${bot}:lua`)));
}

async function types(c) {
  say('list', [await c.rpush(`${bot}:l`, 'a', allBytes, 'c'), await cold(), await c.lrangeBuffer(`${bot}:l`, 0, -1)]);
  say('set', [await c.sadd(`${bot}:s`, 'x', 'y'), await cold(), (await c.smembers(`${bot}:s`)).sort()]);
  say('zset', [await c.zadd(`${bot}:z`, 1.5, 'a', 2, 'b'), await cold(), await c.zrange(`${bot}:z`, 0, -1, 'WITHSCORES')]);
  say('stream', [await c.xadd(`${bot}:x`, '1-1', 'f', 'v'), await cold(), await c.xrange(`${bot}:x`, '-', '+')]);
  await cold();
  for (const name of ['creds', 'keys', 'l', 's', 'z', 'x', 'none']) say(`type ${name}`, await c.type(`${bot}:${name}`));
  say('wrong type', await failure(c.get(`${bot}:l`)));
  say('rename', [await c.rename(`${bot}:l`, `${peer}:l`), await cold(), await c.llen(`${peer}:l`), await c.exists(`${bot}:l`)]);
  await cold();
  say('pop', await c.blpop(`${bot}:l`, `${peer}:l`, 0));
  await c.del(`${peer}:l`);
  const blocked = connect();
  await blocked.ping();
  const popped = blocked.brpop(`${peer}:l`, 0);
  say('push', await c.lpush(`${peer}:l`, 'for the one who waits'));
  say('popped', await popped);
  await blocked.quit();
}

async function channels(c) {
  const sub = connect();
  const got = new Promise((resolve) => sub.on('messageBuffer', (channel, message) => resolve([channel, message])));
  say('subscribe', await sub.subscribe('news'));
  await cold();
  say('publish', await c.publish('news', allBytes));
  say('message', await got);
  say('unsubscribe', await sub.unsubscribe('news'));
  say('after', [await sub.set(`${bot}:sub`, 'v'), await cold(), await sub.get(`${bot}:sub`)]);
  await sub.quit();
}

async function listing(c, match) {
  const keys = new Set();
  for await (const part of c.scanStream({ match, count: 50 })) part.forEach((key) => keys.add(key));
  return [...keys].sort();
}

async function logout(c) {
  say('restarted', [await restart(), await c.get(`${bot}:w`), await c.hget(`${bot}:keys`, 'pre-key-9')]);
  await cold();
  say('fleet', await listing(c, 'app:fleet*'));
  say('keys', (await c.keys('app:fleet3:*')).sort());
  for (const match of ['app:fleet*', `${bot}:*`, `${peer}:*`]) {
    await cold();
    const keys = new Set();
    for await (const part of c.scanBufferStream({ match })) part.forEach((key) => keys.add(key.toString('latin1')));
    say('unlink', await c.unlink(...[...keys].map((key) => Buffer.from(key, 'latin1'))));
  }
  say('left', await listing(c, '*'));
  say('dbsize', await c.dbsize());
}

const c = connect();
say('connect', await c.ping());
for (const part of [strings, hashes, expiry, batches, scripts, types, channels, logout]) await part(c);
say('quit', await c.quit());
finish();
