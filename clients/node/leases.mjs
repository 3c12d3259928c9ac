// What baileys-api sends: every write is a script with the session's hash and a lease that belongs to no session, a start
// reads one field of every session, and a channel tells the other programs.

import { allBytes, cold, say } from './script.mjs';

const session = (phone) => `@baileys-api:connections:${phone}:authState`;
const lease = (phone) => `@baileys-api:leases:${phone}`;
const phones = ['+5511988887777', '+4915112345678', '+12025550123'];

const write = `if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
for n = 2, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[n], ARGV[n + 1]) end
return 1`;
const remove = `if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1]) redis.call('DEL', KEYS[2]) return 1`;

export async function leases(c, connect, close) {
  const sub = await connect();
  const heard = [];
  let all;
  const everybody = new Promise((resolve) => { all = resolve; });
  await sub.subscribe('baileys-api:events', (message) => { if (heard.push(message) === phones.length) all(); });
  for (const phone of phones) {
    say('lease', await c.set(lease(phone), 'me', { NX: true, PX: 600000 }));
    say('lease taken', await c.set(lease(phone), 'other', { NX: true, PX: 600000 }));
    await cold();
    say('write', await c.eval(write, { keys: [session(phone), lease(phone)], arguments: ['me', 'creds', `{"me":"${phone}"}`, 'pre-key-1', allBytes.toString('base64')] }));
    await cold();
    say('write without', await c.eval(write, { keys: [session(phone), lease(phone)], arguments: ['other', 'creds', 'stolen'] }));
    await cold();
    say('add', await c.eval(write, { keys: [session(phone), lease(phone)], arguments: ['me', 'session-1', 'x'] }));
    await c.publish('baileys-api:events', phone);
  }
  await everybody;
  say('heard', heard);
  await cold();
  say('boot', await Promise.all(phones.map((phone) => c.hGet(session(phone), 'creds'))));
  await cold();
  say('fields', (await c.hKeys(session(phones[1]))).sort());
  for (const phone of phones) {
    await cold();
    say('logout without', await c.eval(remove, { keys: [session(phone), lease(phone)], arguments: ['other'] }));
    await cold();
    say('logout', await c.eval(remove, { keys: [session(phone), lease(phone)], arguments: ['me'] }));
    await cold();
    say('after', await c.exists([session(phone), lease(phone)]));
  }
  await close(sub);
}
