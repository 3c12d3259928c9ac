// What all scripts share. A script drives one client library through a program's day and prints what it got, line by line:
// the same script on a plain Redis has to print the same. The environment says where and how:
//
//   REDIS_ADDR  host:port of the proxy, or of a plain Redis
//   EVICT       "between": cold() evicts every session; else it does nothing
//   RESTART     "yes": restart() has the proxy killed and started again; else it does nothing

import { createHash } from 'node:crypto';
import { createInterface } from 'node:readline';
import { Redis } from 'ioredis5';

const [host, port] = process.env.REDIS_ADDR.split(':');
export const server = { host, port: Number(port) };
export const url = `redis://${host}:${port}`;

// Every byte there is, and text in several scripts: what a client mangles first.
export const allBytes = Buffer.from(Array.from({ length: 256 }, (_, n) => n));
export const someText = 'grüße, 你好, \u{1f510} "quoted"\r\n\0 end';

let admin;

// cold takes every session out of Redis, so that whatever comes next has to bring it back.
export async function cold() {
  if (process.env.EVICT !== 'between') return;
  admin ??= new Redis(server);
  const resident = [];
  for (const pairs of await admin.call('CREDPROXY', 'SESSIONS', 'COUNT', '10000')) {
    const s = {};
    for (let n = 0; n < pairs.length; n += 2) s[pairs[n]] = pairs[n + 1];
    if (s.state === 'resident') resident.push(`${s.keyspace}/${s.id}`);
  }
  if (resident.length === 0) return;
  const evicted = await admin.call('CREDPROXY', 'EVICT', ...resident);
  if (evicted !== resident.length) throw new Error(`evicted ${evicted} of ${resident.length} sessions`);
}

// restart asks the test to kill the proxy and to start it again, and returns when it serves.
export async function restart() {
  if (process.env.RESTART !== 'yes') return;
  admin?.disconnect();
  admin = undefined;
  const lines = createInterface({ input: process.stdin });
  const served = new Promise((resolve) => lines.once('line', resolve));
  console.log('@restart');
  await served;
  lines.close();
  process.stdin.unref?.();
}

// finish closes what cold opened.
export function finish() {
  admin?.disconnect();
}

// say prints a value with its type, in a form that is the same in every run.
export function say(name, value) {
  console.log(`${name}: ${show(value)}`);
}

function show(v) {
  if (Buffer.isBuffer(v)) return v.length <= 40 ? `bytes ${v.toString('hex')}` : `bytes(${v.length}) ${digest(v)}`;
  if (typeof v === 'string') return v.length <= 80 ? JSON.stringify(v) : `text(${v.length}) ${digest(v)}`;
  if (typeof v === 'bigint') return `${v}n`;
  if (v instanceof Error) return `${v.name} ${v.message}`;
  if (Array.isArray(v)) return `[${v.map(show).join(', ')}]`;
  if (v instanceof Map) return `Map{${[...v].map(([k, x]) => `${show(k)}: ${show(x)}`).sort().join(', ')}}`;
  if (v instanceof Set) return `Set{${[...v].map(show).sort().join(', ')}}`;
  if (v !== null && typeof v === 'object') return `{${Object.keys(v).sort().map((k) => `${JSON.stringify(k)}: ${show(v[k])}`).join(', ')}}`;
  return String(v);
}

const digest = (data) => createHash('sha256').update(data).digest('hex').slice(0, 16);

// near prints whether a time to live is what was set or a little less, as the exact figure differs from run to run.
export function near(name, got, want, slack) {
  say(name, got <= want && got >= want - slack ? `about ${want}` : got);
}

// until calls f until it returns something true, and returns that.
export async function until(f) {
  for (;;) {
    const got = await f();
    if (got) return got;
    await new Promise(setImmediate); // f may be answered without the network
  }
}

// failure returns what a promise is rejected with.
export async function failure(promise) {
  return promise.then((got) => { throw new Error(`it did not fail: ${show(got)}`); }, (err) => err);
}
