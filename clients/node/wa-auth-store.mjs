// wa-auth-store with Baileys: two bots pair, upload pre-keys, and write to each other and in a group, with Baileys's own
// Signal code on both sides and the bundle that WhatsApp would hand out between them. A key that comes back older, or not at
// all, is a message that cannot be read. No line that is printed holds a key: those differ from run to run.

import { BaileysAuthStore, BaileysRedisAdapter, useBaileysAuthState } from 'wa-auth-store';
import * as baileys from 'baileys';
import { makeLibSignalRepository } from 'baileys/lib/Signal/libsignal.js';
import assert from 'node:assert';
import { allBytes, cold, finish, near, restart, say, someText, url } from './script.mjs';

const { addTransactionCapability, getNextPreKeysNode, makeCacheableSignalKeyStore, parseAndInjectE2ESessions, proto } = baileys;
const logger = { level: 'silent', child: () => logger, trace() {}, debug() {}, info() {}, warn() {}, error() {} };
const noMapping = async () => undefined;
const group = '120363041234567890@g.us';
const preKeys = 812; // what Baileys uploads when it has paired
for (const level of ['info', 'warn', 'error']) console[level] = () => {}; // libsignal tells of every session it closes

// bot is one account in one process: its connection, its store, and Baileys's view of both.
class Bot {
  constructor(id, jid, ttl) {
    Object.assign(this, { id, jid, ttl });
  }

  // start does what a program does at its start: everything that it knows comes from the store.
  async start() {
    this.adapter = new BaileysRedisAdapter(url);
    this.adapter.redis.on('error', () => {}); // repaired by ioredis
    await this.adapter.connect();
    this.store = new BaileysAuthStore(this.adapter);
    const { state, saveCreds, memoryManager } = await useBaileysAuthState(this.store, this.id, { redisMemoryConfig: {}, redis: this.adapter.redis, ttl: this.ttl });
    Object.assign(this, { creds: state.creds, saveCreds, memoryManager });
    const cached = makeCacheableSignalKeyStore(state.keys, logger);
    this.keys = addTransactionCapability(cached, logger, { maxCommitRetries: 1, delayBetweenTriesMs: 1 });
    this.signal = makeLibSignalRepository({ creds: this.creds, keys: this.keys }, logger, noMapping);
  }

  async stop() {
    say('memory', (await this.memoryManager.getMemoryUsage()).usedBytes > 0);
    await this.memoryManager.stop();
    await this.adapter.disconnect();
  }

  // pair is the work of the first start. It returns the bundle that the server hands out to those who write first.
  async pair() {
    this.creds.me = { id: this.jid, name: someText };
    this.creds.registered = true;
    await this.saveCreds();
    await cold();
    const { update, node } = await getNextPreKeysNode({ creds: this.creds, keys: this.keys }, preKeys);
    Object.assign(this.creds, update);
    await cold();
    await this.saveCreds();
    const [registration, , identity, list, skey] = node.content;
    assert.equal(list.content.length, preKeys);
    const user = (n) => ({ tag: 'user', attrs: { jid: this.jid }, content: [registration, identity, skey, list.content[n]] });
    return (n) => ({ tag: 'iq', attrs: {}, content: [{ tag: 'list', attrs: {}, content: [user(n)] }] });
  }

  async logout() {
    await this.store.deleteCreds(this.id);
    await this.memoryManager.clear();
  }
}

async function send(from, to, text) {
  const data = Buffer.from(text);
  const { type, ciphertext } = await from.signal.encryptMessage({ jid: to.jid, data });
  await cold();
  const got = await to.signal.decryptMessage({ jid: from.jid, type, ciphertext });
  await cold();
  assert.deepEqual(Buffer.from(got), data);
  return type;
}

async function conversation(alice, bob) {
  const kinds = [];
  for (let n = 0; n < 6; n++) {
    kinds.push(await send(alice, bob, `to bob ${n} ${someText}`), await send(bob, alice, `to alice ${n}`));
  }
  say('kinds', kinds);
  // Three at once, read in another order: the receiver keeps the keys of those it has skipped.
  const sent = [];
  for (let n = 0; n < 3; n++) sent.push(await alice.signal.encryptMessage({ jid: bob.jid, data: Buffer.from(`late ${n}`) }));
  const read = [];
  for (const n of [2, 0, 1]) {
    await cold();
    const got = await bob.signal.decryptMessage({ jid: alice.jid, ...sent[n] });
    read.push(Buffer.from(got).toString());
  }
  say('read', read);
}

async function groupTalk(alice, bob) {
  const read = [];
  for (let n = 0; n < 4; n++) {
    const { ciphertext, senderKeyDistributionMessage } = await alice.signal.encryptGroupMessage({ group, meId: alice.jid, data: Buffer.from(`all ${n}`) });
    await cold();
    if (n === 0) {
      const item = { groupId: group, axolotlSenderKeyDistributionMessage: senderKeyDistributionMessage };
      await bob.signal.processSenderKeyDistributionMessage({ item, authorJid: alice.jid });
      await cold();
    }
    read.push(Buffer.from(await bob.signal.decryptGroupMessage({ group, authorJid: alice.jid, msg: ciphertext })).toString());
  }
  say('group', read);
}

// otherKeys are the kinds that Baileys writes besides.
async function otherKeys(bot) {
  const sync = { keyData: allBytes, fingerprint: { rawId: 7, currentIndex: 1, deviceIndexes: [0, 2] }, timestamp: 1700000000 };
  await bot.keys.set({
    'app-state-sync-key': { AAAAAKx1: proto.Message.AppStateSyncKeyData.fromObject(sync) },
    'app-state-sync-version': { critical_block: { version: 3, hash: allBytes, indexValueMap: { 'a+/=': { valueMac: allBytes } } } },
    'sender-key-memory': { [group]: { '5511@s.whatsapp.net': true } },
    'device-list': { 5511: ['0', '3'] },
    'lid-mapping': { 5511: '222', '222_reverse': '5511' },
    tctoken: { '5511@s.whatsapp.net': { token: allBytes, timestamp: '1700000000' } },
  });
  await cold();
}

async function readOtherKeys(bot) {
  const { AAAAAKx1: key } = await bot.keys.get('app-state-sync-key', ['AAAAAKx1', 'none']);
  say('app-state-sync-key', Buffer.from(key.keyData));
  await cold();
  const { critical_block: version } = await bot.keys.get('app-state-sync-version', ['critical_block']);
  say('app-state-sync-version', version);
  await cold();
  say('sender-key-memory', await bot.keys.get('sender-key-memory', [group]));
  say('device-list', await bot.keys.get('device-list', ['5511', 'none']));
  say('lid-mapping', await bot.keys.get('lid-mapping', ['5511', '222_reverse']));
  say('tctoken', await bot.keys.get('tctoken', ['5511@s.whatsapp.net']));
}

const plain = (creds) => JSON.parse(JSON.stringify(creds, baileys.BufferJSON.replacer));

// startAgain is a new process: what it reads must be what the old one had.
async function startAgain(...bots) {
  for (const bot of bots) {
    const before = plain(bot.creds);
    await bot.stop();
    await cold();
    await bot.start();
    assert.deepEqual(plain(bot.creds), before);
    await cold();
  }
}

const alice = new Bot('user@host:5511988887777', '5511988887777@s.whatsapp.net', undefined);
const bob = new Bot('4915112345678', '4915112345678:3@s.whatsapp.net', 86400);
await alice.start();
await bob.start();
await alice.pair();
const bundle = await bob.pair();
await cold();
await parseAndInjectE2ESessions(bundle(5), alice.signal);
await conversation(alice, bob);
await groupTalk(alice, bob);
await otherKeys(alice);
await startAgain(alice, bob);
await conversation(alice, bob);
await groupTalk(alice, bob);
await readOtherKeys(alice);
await restart();
await startAgain(bob);
await conversation(bob, alice);

const { redis } = bob.adapter;
await bob.saveCreds();
await cold();
near('ttl', await redis.ttl(`wa:auth:${bob.id}:creds`), 86400, 600);
await cold();
near('ttl of keys', await redis.ttl(`wa:auth:${bob.id}:keys`), 86400, 600);
await cold();
say('fields', [await redis.hlen(`wa:auth:${bob.id}:keys`) > preKeys, await redis.hlen(`wa:auth:${alice.id}:keys`) > preKeys]);
await cold();
await bob.store.deleteKeys(bob.id, ['pre-key-1', 'pre-key-2', 'none-0']);
await cold();
say('deleted', await redis.hmget(`wa:auth:${bob.id}:keys`, 'pre-key-1', 'pre-key-2'));

for (const bot of [alice, bob]) {
  await cold();
  await bot.stop();
  await bot.start();
  await bot.logout();
  await cold();
  say('logged out', await bot.store.getCreds(bot.id));
  clearInterval(bot.memoryManager.checkInterval);
  await bot.adapter.disconnect();
}
finish();
process.exit(0); // Baileys's caches keep timers
