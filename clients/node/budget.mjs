// wa-auth-store under a memory budget: bots pair one after another, each with the creds of Baileys's own making and as many pre-keys as it uploads,
// until they need more than the budget. With its memory manager (MANAGER=yes, as its README has it) or without; then every bot is started anew and what it
// reads is compared. Prints JSON, a line for every tenth of the bots and one at the end.
//
//   REDIS_ADDR  where the bots connect
//   REDIS       host:port of the Redis whose memory is measured
//   BUDGET      bytes
//   BOTS        how many

import { BaileysAuthStore, BaileysRedisAdapter, useBaileysAuthState } from 'wa-auth-store';
import { initAuthCreds, BufferJSON } from 'baileys';
import { createHash, randomBytes } from 'node:crypto';
import { Redis } from 'ioredis5';
import { url } from './script.mjs';

const { REDIS, BUDGET, BOTS, MANAGER } = process.env;
const bots = Number(BOTS);
const preKeys = 812;
const [host, port] = REDIS.split(':');
const probe = new Redis({ host, port: Number(port) });
const redisMemoryConfig = { maxMemoryBytes: Number(BUDGET), evictionThreshold: 80, checkIntervalMs: 500 };

const adapter = new BaileysRedisAdapter(url);
await adapter.connect();
const store = new BaileysAuthStore(adapter);
const managers = [];
let evictions = 0; // that the managers believe to have made
let peak = 0;

async function used() {
  const now = Number((await probe.info('memory')).match(/used_memory:(\d+)/)[1]);
  peak = Math.max(peak, now);
  return now;
}

async function open(id) {
  const managed = MANAGER === 'yes' ? { redisMemoryConfig, redis: adapter.redis } : {};
  const auth = await useBaileysAuthState(store, id, managed);
  const m = auth.memoryManager;
  if (m) {
    const evict = m.evictSession.bind(m);
    m.evictSession = (session) => (evictions++, evict(session));
    managers.push(m);
  }
  return auth;
}

// pair has the form of a pre-key, not its arithmetic, which takes Baileys 0.15 s a bot.
const pair = () => ({ private: randomBytes(32), public: randomBytes(32) });
const digest = (v) => createHash('sha256').update(JSON.stringify(v, BufferJSON.replacer)).digest('hex');
const ids = (keys) => Object.keys(keys['pre-key']);

const written = new Map();
const began = Date.now();
for (let n = 0; n < bots; n++) {
  const id = `4915${String(n).padStart(9, '0')}`;
  const { state, saveCreds } = await open(id);
  Object.assign(state.creds, initAuthCreds(), { registered: true });
  await saveCreds();
  const keys = { 'pre-key': Object.fromEntries(Array.from({ length: preKeys }, (_, i) => [i + 1, pair()])) };
  await state.keys.set(keys);
  written.set(id, { creds: digest(state.creds), keys: digest(keys['pre-key']), ids: ids(keys) });
  const now = await used();
  if ((n + 1) % Math.max(Math.floor(bots / 10), 1) === 0) console.log(JSON.stringify({ ms: Date.now() - began, bots: n + 1, used: now, evictions }));
}
// The managers look every half second; now all of them have looked with everything written.
for (const m of managers) await m.checkAndEvict();
const end = await used();
const kept = await probe.keys('wa:auth:*');

for (const m of managers) clearInterval(m.checkInterval);
managers.length = 0;
let readable = 0;
for (const [id, want] of written) {
  const { creds, keys } = (await store.getCreds(id)) ?? {};
  const got = keys && Object.fromEntries(want.ids.map((n) => [n, keys[`pre-key-${n}`]]));
  if (creds && digest(creds) === want.creds && digest(got) === want.keys) readable++;
  await used();
}
console.log(JSON.stringify({ ms: Date.now() - began, bots, used: end, peak, evictions, inRedis: kept.length / 2, readable }));
await adapter.disconnect();
probe.disconnect();
process.exit(0); // Baileys's caches keep timers
