// node-redis, by the shapes of the stores that use it: a string per key with KEYS and one huge DEL (redis-baileys), a hash in
// database 6 (evolution-api), every write by EVAL beside a lease and a channel (baileys-api). Arguments: the package, and the
// protocol where it takes one.

import { allBytes, cold, failure, finish, near, restart, say, server, someText, until } from './script.mjs';
import { leases } from './leases.mjs';

const [library, protocol] = process.argv.slice(2);
const { createClient, commandOptions, RESP_TYPES, defineScript } = await import(library);
const old = library === 'redis4';

// Arguments of a script: version 4 wants them returned, the later ones pushed.
const putOnce = defineScript({
  NUMBER_OF_KEYS: 1,
  SCRIPT: 'if redis.call("EXISTS", KEYS[1]) == 1 then return redis.call("HGET", KEYS[1], ARGV[1]) end redis.call("HSET", KEYS[1], ARGV[1], ARGV[2]) return false',
  transformArguments: (key, field, value) => [key, field, value],
  parseCommand: (parser, key, field, value) => { parser.pushKey(key); parser.push(field, value); },
  transformReply: (reply) => reply,
});

const options = { socket: { ...server, reconnectStrategy: () => 20 }, scripts: { putOnce } };
if (protocol) options.RESP = Number(protocol);
const down = () => {}; // a lost connection is reported here, and repaired by the library
const connect = (more) => createClient({ ...options, ...more }).on('error', down).connect();
const close = (client) => (old ? client.quit() : client.close());

// bytes gives a client whose replies are Buffers; version 4 has that as an option of each call.
const bytes = (client) => (old
  ? new Proxy(client, { get: (target, name) => (...args) => target[name](commandOptions({ returnBuffers: true }), ...args) })
  : client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer }));

const bot = 'app:bot+5511988887777';
const peer = 'app:user@host';

async function strings(c) {
  say('set bytes', await c.set(`${bot}:auth_creds`, allBytes));
  await cold();
  say('get bytes', await bytes(c).get(`${bot}:auth_creds`));
  say('set text', await c.set(`${bot}:text`, someText));
  await cold();
  say('get text', (await c.get(`${bot}:text`)) === someText);
  await cold();
  say('append', await c.append(`${bot}:auth_creds`, allBytes));
  await cold();
  say('getRange', await bytes(c).getRange(`${bot}:auth_creds`, 250, 260));
  await cold();
  say('set nx', await c.set(`${bot}:auth_creds`, 'other', { NX: true }));
  await cold();
  say('set get', await bytes(c).set(`${bot}:auth_creds`, 'second', { GET: true }));
  await cold();
  say('missing', await c.get(`${bot}:none`));
  say('incr', [await c.incr(`${bot}:n`), await cold(), await c.incrBy(`${bot}:n`, 41)]);
  await cold();
  say('incrByFloat', await c.incrByFloat(`${bot}:n`, 0.5));
  say('mSet', await c.mSet([[`${bot}:a`, 'one'], [`${peer}:a`, someText]]));
  await cold();
  say('mGet', await c.mGet([`${bot}:a`, `${bot}:none`, `${peer}:a`]));
  await cold();
  say('getDel', await c.getDel(`${bot}:a`));
  await cold();
  say('gone', [await c.get(`${bot}:a`), await c.exists([`${bot}:a`, `${peer}:a`])]);
}

async function hashes(c) {
  const fields = Object.fromEntries(Array.from({ length: 812 }, (_, n) => [`pre-key-${n}`, JSON.stringify({ n, key: allBytes.toString('base64') })]));
  say('hSet', await c.hSet(`${bot}:keys`, fields));
  await cold();
  say('hGetAll', { ...await c.hGetAll(`${bot}:keys`) });
  await cold();
  say('hmGet', await c.hmGet(`${bot}:keys`, ['pre-key-3', 'none', 'pre-key-811']));
  await cold();
  say('hSet binary', await c.hSet(`${bot}:keys`, 'bytes', allBytes));
  await cold();
  say('hGet binary', await bytes(c).hGet(`${bot}:keys`, 'bytes'));
  say('hDel', await c.hDel(`${bot}:keys`, ['pre-key-3', 'none']));
  await cold();
  say('hGet deleted', (await c.hGet(`${bot}:keys`, 'pre-key-3')) ?? null);
  say('hIncrBy', [await c.hIncrBy(`${bot}:h`, 'n', 5), await cold(), await c.hIncrBy(`${bot}:h`, 'n', 5)]);
  const seen = new Set();
  for await (const part of c.hScanIterator(`${bot}:keys`, { MATCH: 'pre-key-*', COUNT: 100 })) {
    if (seen.size % 10 === 0) await cold();
    for (const { field } of [part].flat()) seen.add(field);
  }
  say('hScan', seen.size);
}

async function expiry(c) {
  say('setEx', await c.setEx(`${bot}:t`, 1000, 'v'));
  await cold();
  near('ttl', await c.ttl(`${bot}:t`), 1000, 100);
  say('expire', await c.expire(`${bot}:keys`, 2000));
  await cold();
  near('pTTL', await c.pTTL(`${bot}:keys`), 2000000, 100000);
  say('persist', [await c.persist(`${bot}:t`), await cold(), await c.ttl(`${bot}:t`)]);
  say('soon', await c.set(`${bot}:soon`, 'v', { PX: 40 }));
  await cold();
  await until(async () => (await c.get(`${bot}:soon`)) === null);
  await cold();
  say('over', [await c.exists(`${bot}:soon`), await c.ttl(`${bot}:soon`)]);
}

async function batches(c) {
  const calls = [];
  for (let n = 0; n < 293; n++) calls.push(c.set(`app:fleet${n % 7}:k${n}`, `v${n}`), c.get(`app:fleet${(n + 1) % 7}:k${n - 6}`));
  say('pipeline', await Promise.all(calls));
  await cold();
  say('multi', await c.multi().hSet(`${bot}:h`, 'f', 'v').get(`${peer}:a`).hmGet(`${bot}:h`, ['f', 'n']).exec());
  await cold();
  say('multi empty', await c.multi().get(`${bot}:none`).del([`${bot}:h`, `${bot}:none`]).exec());
  await cold();
  say('multi error', await failure(c.multi().incr(`${bot}:text`).get(`${bot}:n`).exec()));
  const mine = await connect();
  await mine.watch(`${bot}:w`);
  await c.set(`${bot}:w`, 'theirs');
  say('watch lost', await failure(mine.multi().set(`${bot}:w`, 'mine').exec()));
  await cold();
  await mine.watch(`${bot}:w`);
  say('watch won', await mine.multi().set(`${bot}:w`, 'mine').get(`${bot}:w`).exec());
  await close(mine);
}

async function scripts(c) {
  say('evalsha', [await c.putOnce(`${bot}:lua`, 'f', 'first'), await cold(), await c.putOnce(`${bot}:lua`, 'f', 'second')]);
  await cold();
  say('eval', await bytes(c).eval('return {redis.call("GET", KEYS[1]), #ARGV[1], 7}', { keys: [`${peer}:a`], arguments: [someText] }));
  await cold();
  say('eval error', await failure(c.eval('return redis.call("INCR", KEYS[1])', { keys: [`${bot}:lua`] })));
}

async function types(c) {
  say('list', [await c.rPush(`${bot}:l`, ['a', allBytes, 'c']), await cold(), await bytes(c).lRange(`${bot}:l`, 0, -1)]);
  say('set', [await c.sAdd(`${bot}:s`, ['x', 'y']), await cold(), [...await c.sMembers(`${bot}:s`)].sort()]);
  say('zset', [await c.zAdd(`${bot}:z`, [{ score: 1.5, value: 'a' }, { score: 2, value: 'b' }]), await cold(), await c.zRangeWithScores(`${bot}:z`, 0, -1)]);
  say('score', [await cold(), await c.zScore(`${bot}:z`, 'a'), await c.zIncrBy(`${bot}:z`, 0.25, 'a')]);
  say('stream', [await c.xAdd(`${bot}:x`, '1-1', { f: 'v' }), await cold(), await c.xRange(`${bot}:x`, '-', '+')]);
  await cold();
  for (const name of ['auth_creds', 'keys', 'l', 's', 'z', 'x', 'none']) say(`type ${name}`, await c.type(`${bot}:${name}`));
  say('wrong type', await failure(c.get(`${bot}:l`)));
  say('rename', [await c.rename(`${bot}:l`, `${peer}:l`), await cold(), await c.lLen(`${peer}:l`), await c.exists(`${bot}:l`)]);
  await cold();
  say('pop', await c.blPop([`${bot}:l`, `${peer}:l`], 0));
  await c.del(`${peer}:l`);
  const blocked = await connect();
  const popped = blocked.brPop(`${peer}:l`, 0);
  say('push', await c.lPush(`${peer}:l`, 'for the one who waits'));
  say('popped', await popped);
  await close(blocked);
}

async function channels(c) {
  const sub = await connect();
  let heard;
  const got = new Promise((resolve) => { heard = (message, channel) => resolve([channel, message]); });
  await sub.subscribe('news', heard, true);
  await cold();
  say('publish', await c.publish('news', allBytes));
  say('message', await got);
  await sub.unsubscribe('news');
  say('after', [await sub.set(`${bot}:sub`, 'v'), await cold(), await sub.get(`${bot}:sub`)]);
  await close(sub);
}

// otherDatabase keeps an instance as evolution-api does.
async function otherDatabase() {
  const c = await connect({ database: 6 });
  const key = 'evolution:instance:1f0c7e52-0000-4000-8000-8d5f2f7d2a11';
  say('db 6', await c.hSet(key, 'creds', JSON.stringify({ text: someText })));
  await cold();
  say('db 6 exists', await c.hExists(key, 'creds'));
  await cold();
  say('db 6 text', JSON.parse(await c.hGet(key, 'creds')).text === someText);
  await cold();
  say('db 6 list', await listing(c, 'evolution:instance:*'));
  await cold();
  say('db 6 del', [await c.del(key), await cold(), await c.exists(key), await c.dbSize()]);
  await close(c);
}

// caching reads through the library's own cache, which Redis tells what has changed. An eviction is no change of the value.
async function caching(c) {
  if (old || Number(protocol) === 2 || (library === 'redis5' && !protocol)) return;
  const reader = await connect({ RESP: 3, clientSideCache: { ttl: 0, maxEntries: 0 } });
  say('cached', [await reader.get(`${bot}:t`), await reader.get(`${bot}:t`)]);
  await cold();
  say('still', await reader.get(`${bot}:t`));
  await c.set(`${bot}:t`, 'changed');
  say('invalidated', await until(async () => { const got = await reader.get(`${bot}:t`); return got !== 'v' && got; }));
  await close(reader);
}

async function listing(c, match) {
  const keys = new Set();
  for await (const part of c.scanIterator({ MATCH: match, COUNT: 50 })) [part].flat().forEach((key) => keys.add(key));
  return [...keys].sort();
}

async function logout(c) {
  await restart();
  say('restarted', [await c.get(`${bot}:w`), await c.hGet(`${bot}:keys`, 'pre-key-9')]);
  await cold();
  say('fleet', await listing(c, 'app:fleet*'));
  await cold();
  say('unlink', await c.unlink(await listing(c, 'app:fleet*')));
  for (const match of [`${bot}:*`, `${peer}:*`]) {
    const keys = await c.keys(match);
    await cold();
    say('del', await c.del(keys));
  }
  say('left', [await listing(c, '*'), await c.dbSize()]);
}

const c = await connect();
say('connect', await c.ping());
for (const part of [strings, hashes, expiry, batches, scripts, types, channels, otherDatabase, caching]) await part(c);
await leases(c, connect, close);
await logout(c);
await close(c);
finish();
