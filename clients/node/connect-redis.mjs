// connect-redis under express-session, in a server that people log in to and out of. Argument: the package of the client.

import { RedisStore } from 'connect-redis';
import session from 'express-session';
import { createServer } from 'node:http';
import { cold, finish, near, restart, say, server, someText } from './script.mjs';

const { createClient } = await import(process.argv[2]);
const client = await createClient({ socket: { ...server, reconnectStrategy: () => 20 } }).on('error', () => {}).connect();
const store = new RedisStore({ client, ttl: 3600 });

let people = 0;
const sessions = session({
  store,
  secret: 'not a secret',
  resave: false,
  saveUninitialized: false,
  genid: () => `person${people++}+a/b=@host`, // the store's keys hold whatever ids an application makes
});

// answer is the application: /login, /visit and /logout.
function answer(req, res) {
  const end = (body) => res.end(JSON.stringify(body));
  if (req.url === '/login') {
    req.session.user = { name: someText, cart: [1, 2.5, null, { deep: true }] };
    req.session.visits = 0;
    return end('welcome');
  }
  if (req.url === '/logout') return req.session.destroy((err) => end(err ? String(err) : 'bye'));
  if (!req.session.user) return end('who are you?');
  req.session.visits++;
  return end(req.session);
}

const web = createServer((req, res) => sessions(req, res, (err) => (err ? res.end(String(err)) : answer(req, res))));
await new Promise((resolve) => web.listen(0, '127.0.0.1', resolve));
const base = `http://127.0.0.1:${web.address().port}`;

// Person keeps a cookie, as a browser does.
class Person {
  async go(path) {
    const reply = await fetch(base + path, { headers: this.cookie ? { cookie: this.cookie } : {} });
    this.cookie = reply.headers.get('set-cookie')?.split(';')[0] ?? this.cookie;
    const body = await reply.json();
    await cold();
    return body;
  }
}

const [ann, ben] = [new Person(), new Person()];
say('stranger', await ann.go('/visit'));
say('login', [await ann.go('/login'), await ben.go('/login')]);
for (let n = 0; n < 3; n++) say('visit', [await ann.go('/visit'), await ben.go('/visit')]);
say('ids', (await store.ids()).sort());
near('ttl', await client.ttl(`sess:${(await store.ids()).sort()[0]}`), 3600, 600);
await cold();
say('all', (await store.all()).sort((a, b) => (a.id < b.id ? -1 : 1)));
await cold();
say('length', await store.length());
await restart();
say('after', await ann.go('/visit'));
say('logout', await ann.go('/logout'));
say('out', [await ann.go('/visit'), await ben.go('/visit')]);

// Many people at once, and then everybody is logged out.
const crowd = Array.from({ length: 40 }, () => new Person());
for (const one of crowd) say('crowd', await one.go('/login'));
say('visits', (await Promise.all(crowd.map((one) => one.go('/visit')))).map((got) => got.visits));
say('length', await store.length());
await cold();
await store.clear();
say('cleared', [await store.length(), await ben.go('/visit')]);

await client.close();
web.close();
web.closeAllConnections();
finish();
