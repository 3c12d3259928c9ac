"""redis-py, as Python programs keep chats and logins with it. The environment is that of ../node/script.mjs."""

import hashlib
import json
import os
import sys
import threading

import redis

HOST, PORT = os.environ["REDIS_ADDR"].split(":")
ALL_BYTES = bytes(range(256))
SOME_TEXT = 'grüße, 你好, \U0001f510 "quoted"\r\n\0 end'
BOT = "app:bot+5511988887777"
PEER = "app:user@host"


def connect(**more):
    return redis.Redis(host=HOST, port=int(PORT), **more)


def show(value):
    """A value with its type, in a form that is the same in every run."""
    if isinstance(value, (bytes, str)):
        data = value if isinstance(value, bytes) else value.encode()
        kind = type(value).__name__
        return repr(value) if len(data) <= 80 else f"{kind}({len(data)}) {hashlib.sha256(data).hexdigest()[:16]}"
    if isinstance(value, (list, tuple)):
        return f"{type(value).__name__}[{', '.join(map(show, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(sorted(f"{show(k)}: {show(v)}" for k, v in value.items())) + "}"
    if isinstance(value, set):
        return "set{" + ", ".join(sorted(map(show, value))) + "}"
    if isinstance(value, Exception):
        return f"{type(value).__name__} {value}"
    return repr(value)


def say(name, *values):
    print(f"{name}: {', '.join(map(show, values))}", flush=True)


def cold():
    """Takes every session out of Redis. It returns nothing to say."""
    if os.environ["EVICT"] != "between":
        return
    admin = connect(decode_responses=True)
    resident = []
    for pairs in admin.execute_command("CREDPROXY", "SESSIONS", "COUNT", "10000"):
        s = dict(zip(pairs[::2], pairs[1::2]))
        if s["state"] == "resident":
            resident.append(f"{s['keyspace']}/{s['id']}")
    if resident and admin.execute_command("CREDPROXY", "EVICT", *resident) != len(resident):
        sys.exit("not all sessions were evicted")
    admin.close()


def chilled(call, *args, **kwargs):
    cold()
    return call(*args, **kwargs)


def failure(call, *args, **kwargs):
    try:
        return f"it did not fail: {call(*args, **kwargs)!r}"
    except redis.RedisError as err:
        return err


def strings(r):
    say("set", r.set(f"{BOT}:creds", ALL_BYTES), chilled(r.get, f"{BOT}:creds"))
    say("append", chilled(r.append, f"{BOT}:creds", ALL_BYTES), chilled(r.getrange, f"{BOT}:creds", 250, 260))
    say("text", r.set(f"{BOT}:text", SOME_TEXT), chilled(r.get, f"{BOT}:text").decode() == SOME_TEXT)
    say("nx", chilled(r.set, f"{BOT}:creds", "other", nx=True), chilled(r.get, f"{BOT}:none"))
    say("incr", r.incr(f"{BOT}:n"), chilled(r.incrby, f"{BOT}:n", 41), chilled(r.incrbyfloat, f"{BOT}:n", 0.5))
    say("mset", r.mset({f"{BOT}:a": "one", f"{PEER}:a": ALL_BYTES}))
    say("mget", chilled(r.mget, f"{BOT}:a", f"{BOT}:none", f"{PEER}:a"))
    say("getdel", chilled(r.getdel, f"{BOT}:a"), chilled(r.exists, f"{BOT}:a", f"{PEER}:a"))
    key = f"{BOT}:".encode() + ALL_BYTES
    say("binary key", r.set(key, "v"), chilled(r.get, key), r.type(key))


def hashes(r):
    fields = {f"pre-key-{n}": json.dumps({"n": n, "text": SOME_TEXT}) for n in range(812)}
    say("hset", r.hset(f"{BOT}:keys", mapping=fields), chilled(r.hgetall, f"{BOT}:keys"))
    say("hmget", chilled(r.hmget, f"{BOT}:keys", "pre-key-3", "none", "pre-key-811"))
    say("hset", chilled(r.hset, f"{BOT}:keys", ALL_BYTES, ALL_BYTES), chilled(r.hget, f"{BOT}:keys", ALL_BYTES))
    say("hdel", chilled(r.hdel, f"{BOT}:keys", "pre-key-3", "none"), chilled(r.hget, f"{BOT}:keys", "pre-key-3"))
    say("hscan", len({field for field, _ in chilled(r.hscan_iter, f"{BOT}:keys", match="pre-key-*", count=100)}))


def expiry(r):
    say("setex", r.setex(f"{BOT}:t", 1000, "v"), 900 < chilled(r.ttl, f"{BOT}:t") <= 1000)
    say("expire", chilled(r.expire, f"{BOT}:keys", 2000), 1900000 < chilled(r.pttl, f"{BOT}:keys") <= 2000000)
    say("persist", chilled(r.persist, f"{BOT}:t"), chilled(r.ttl, f"{BOT}:t"))
    say("soon", r.set(f"{BOT}:soon", "v", px=40))
    cold()
    while r.get(f"{BOT}:soon") is not None:
        pass
    say("over", chilled(r.exists, f"{BOT}:soon"), r.ttl(f"{BOT}:soon"))


def batches(r):
    p = r.pipeline(transaction=False)
    for n in range(293):
        p.set(f"app:fleet{n % 7}:k{n}", f"v{n}").get(f"app:fleet{(n + 1) % 7}:k{n - 6}")
    say("pipeline", p.execute())
    cold()
    say("multi", r.pipeline().hset(f"{BOT}:h", "f", "v").get(f"{PEER}:a").hgetall(f"{BOT}:h").execute())
    cold()
    say("multi error", r.pipeline().incr(f"{BOT}:text").get(f"{BOT}:n").execute(raise_on_error=False))
    cold()
    with r.pipeline() as p:
        p.watch(f"{BOT}:w")
        r.set(f"{BOT}:w", "theirs")
        p.multi()
        say("watch lost", failure(p.set(f"{BOT}:w", "mine").execute))
    cold()
    say("transaction", r.transaction(lambda p: (p.get(f"{BOT}:w"), p.multi(), p.append(f"{BOT}:w", "+")), f"{BOT}:w"))


def scripts(r):
    put = r.register_script('redis.call("HSETNX", KEYS[1], ARGV[1], ARGV[2]) return redis.call("HGET", KEYS[1], ARGV[1])')
    say("evalsha", put(keys=[f"{BOT}:lua"], args=["f", ALL_BYTES]), chilled(put, keys=[f"{BOT}:lua"], args=["f", "2"]))
    say("eval error", failure(chilled, r.eval, 'return redis.call("INCR", KEYS[1])', 1, f"{BOT}:lua"))


def types(r):
    # A chat's messages, the newest first, as LangChain keeps them.
    say("list", r.lpush(f"{BOT}:l", "a", ALL_BYTES, "c"), chilled(r.lrange, f"{BOT}:l", 0, -1))
    say("set", r.sadd(f"{BOT}:s", "x", "y"), chilled(r.smembers, f"{BOT}:s"))
    say("zset", r.zadd(f"{BOT}:z", {"a": 1.5, "b": 2}), chilled(r.zrange, f"{BOT}:z", 0, -1, withscores=True))
    say("stream", r.xadd(f"{BOT}:x", {"f": "v"}, id="1-1"), chilled(r.xrange, f"{BOT}:x"))
    say("types", [chilled(r.type, f"{BOT}:{name}") for name in ("creds", "keys", "l", "s", "z", "x", "none")])
    say("wrong type", failure(chilled, r.get, f"{BOT}:l"))
    say("rename", chilled(r.rename, f"{BOT}:l", f"{PEER}:l"), chilled(r.llen, f"{PEER}:l"))
    say("pop", chilled(r.blpop, [f"{BOT}:l", f"{PEER}:l"]), r.delete(f"{PEER}:l"))
    popped = []
    waiter = threading.Thread(target=lambda: popped.append(connect().brpop(f"{PEER}:l")))
    waiter.start()
    say("push", r.lpush(f"{PEER}:l", "for the one who waits"))
    waiter.join()
    say("popped", popped)


def channels(r):
    sub = r.pubsub()
    sub.subscribe("news")
    say("subscribed", sub.get_message(timeout=None))
    cold()
    say("published", r.publish("news", ALL_BYTES), sub.get_message(timeout=None))
    sub.close()


def logout(r):
    if os.environ["RESTART"] == "yes":
        print("@restart", flush=True)
        sys.stdin.readline()
        r.connection_pool.disconnect()  # redis-py tells its user of a lost connection; this program knows of it
    say("restarted", r.get(f"{BOT}:w"), r.hget(f"{BOT}:keys", "pre-key-9"))
    cold()
    # SCAN may show a key twice, also that of Redis.
    say("fleet", sorted(set(r.scan_iter("app:fleet*", count=50))), sorted(chilled(r.keys, "app:fleet3:*")))
    for match in ("app:fleet*", f"{BOT}:*", f"{PEER}:*"):
        cold()
        say("unlink", r.unlink(*set(r.scan_iter(match))))
    say("left", list(r.scan_iter()), chilled(r.dbsize))


client = connect()
say("connect", client.ping())
for part in (strings, hashes, expiry, batches, scripts, types, channels, logout):
    part(client)
