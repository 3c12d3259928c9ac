package proxy_test

import (
	"fmt"
	"math/rand"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// templates are what random commands are made of. {s} {h} {l} {t} {z} {x} are keys that mostly hold a string, hash, list, set,
// sorted set or stream, {k} is any key; {v} is a value, {f} a field, {m} a member, {i} a small number, {n} a score, {far} a time in
// the distant future, {id} a stream id that rises, {db} a database.
var templates = slices.Concat(
	strings.Fields(strings.Repeat("GET_{s} SET_{s}_{v} HSET_{h}_{f}_{v} HGET_{h}_{f} RPUSH_{l}_{v} SADD_{t}_{m} ZADD_{z}_{n}_{m} XADD_{x}_{id}_f_{v} DEL_{k} ", 4)),
	strings.Fields(`APPEND_{s}_{v} STRLEN_{s} GETRANGE_{s}_{i}_{i} SETRANGE_{s}_{i}_{v} SETBIT_{s}_{i}_1 GETBIT_{s}_{i} BITCOUNT_{s} BITPOS_{s}_1
		INCR_{s} DECR_{s} INCRBY_{s}_{i} DECRBY_{s}_{i} INCRBYFLOAT_{s}_{n} SETNX_{s}_{v} GETSET_{s}_{v} GETDEL_{s} GETEX_{s} GETEX_{s}_PERSIST
		GETEX_{s}_PXAT_{far} SET_{s}_{i} SET_{s}_{v}_XX SET_{s}_{v}_NX SET_{s}_{v}_GET SET_{s}_{v}_KEEPTTL SET_{s}_{v}_PXAT_{far} MGET_{s}_{k}_{s}
		MSET_{s}_{v}_{s}_{v} MSETNX_{s}_{v}_{s}_{v} BITOP_XOR_{s}_{s}_{s} BITOP_NOT_{s}_{s} BITFIELD_{s}_INCRBY_u8_{i}_3 LCS_{s}_{s} PFADD_{s}_{m}_{m}
		PFCOUNT_{s} PFMERGE_{s}_{s} SETEX_{s}_100000_{v}`),
	strings.Fields(`HSET_{h}_{f}_{v}_{f}_{v} HMGET_{h}_{f}_{f}_{f} HGETALL_{h} HKEYS_{h} HVALS_{h} HLEN_{h} HEXISTS_{h}_{f} HSTRLEN_{h}_{f} HSETNX_{h}_{f}_{v}
		HDEL_{h}_{f} HDEL_{h}_{f}_{f}_{f} HINCRBY_{h}_{f}_{i} HINCRBYFLOAT_{h}_{f}_{n} HMSET_{h}_{f}_{v}_{f}_{v} HSCAN_{h}_0_COUNT_1000 HSET_{h}_{f}_{i}`),
	strings.Fields(`LPUSH_{l}_{v}_{v} LPUSHX_{l}_{v} RPUSHX_{l}_{v} LPOP_{l} RPOP_{l} LPOP_{l}_{i} LRANGE_{l}_0_-1 LRANGE_{l}_{i}_{i} LLEN_{l} LINDEX_{l}_{i} LSET_{l}_{i}_{v}
		LREM_{l}_0_{v} LTRIM_{l}_0_{i} LINSERT_{l}_BEFORE_{v}_{v} LPOS_{l}_{v} RPOPLPUSH_{l}_{l} LMOVE_{l}_{l}_LEFT_RIGHT LMPOP_2_{l}_{l}_LEFT
		BLPOP_{l}_{l}_0.001 BLMOVE_{l}_{l}_LEFT_LEFT_0.001 SORT_{l}_ALPHA SORT_{l} SORT_{l}_ALPHA_STORE_{k}`),
	strings.Fields(`SADD_{t}_{m}_{m}_{i} SREM_{t}_{m}_{i} SMEMBERS_{t} SCARD_{t} SISMEMBER_{t}_{m} SMISMEMBER_{t}_{m}_{m} SMOVE_{t}_{t}_{m} SINTER_{t}_{t} SUNION_{t}_{t}
		SDIFF_{t}_{t} SINTERSTORE_{t}_{t}_{t} SUNIONSTORE_{t}_{t}_{t} SDIFFSTORE_{t}_{t}_{t} SINTERCARD_2_{t}_{t} SSCAN_{t}_0_COUNT_1000 SORT_{t}_ALPHA`),
	strings.Fields(`ZADD_{z}_{n}_{m}_{n}_{m} ZADD_{z}_XX_CH_{n}_{m} ZADD_{z}_GT_INCR_{n}_{m} ZSCORE_{z}_{m} ZMSCORE_{z}_{m}_{m} ZCARD_{z} ZCOUNT_{z}_0_5 ZRANK_{z}_{m}
		ZRANGE_{z}_0_-1_WITHSCORES ZRANGE_{z}_-inf_+inf_BYSCORE ZREVRANGE_{z}_0_{i} ZRANGEBYSCORE_{z}_0_{i}_WITHSCORES ZINCRBY_{z}_{n}_{m} ZREM_{z}_{m}_{m}
		ZREMRANGEBYRANK_{z}_0_{i} ZREMRANGEBYSCORE_{z}_0_2 ZPOPMIN_{z} ZPOPMAX_{z}_{i} BZPOPMIN_{z}_{z}_0.001 ZUNIONSTORE_{z}_2_{z}_{t} ZINTERSTORE_{z}_2_{z}_{z}
		ZDIFFSTORE_{z}_2_{z}_{z} ZRANGESTORE_{z}_{z}_0_{i} ZUNION_2_{z}_{z}_WITHSCORES ZSCAN_{z}_0_COUNT_1000 GEOADD_{z}_13.36_38.11_{m} GEOPOS_{z}_{m}`),
	strings.Fields(`XADD_{x}_MAXLEN_3_{id}_f_{v} XADD_{x}_1-1_f_{v} XLEN_{x} XRANGE_{x}_-_+ XREVRANGE_{x}_+_-_COUNT_2 XDEL_{x}_{id} XTRIM_{x}_MAXLEN_{i} XREAD_STREAMS_{x}_{x}_0_0
		XGROUP_CREATE_{x}_g_0 XGROUP_DESTROY_{x}_g XREADGROUP_GROUP_g_c_COUNT_2_STREAMS_{x}_> XACK_{x}_g_1-1 XPENDING_{x}_g XINFO_GROUPS_{x}`),
	strings.Fields(`DEL_{k}_{k}_{k} UNLINK_{k}_{k} EXISTS_{k}_{k}_{k} TYPE_{k} TYPE_{k} TTL_{k} PTTL_{k} PEXPIRETIME_{k} EXPIRETIME_{k} PEXPIREAT_{k}_{far} PEXPIREAT_{k}_{far}_NX
		PEXPIREAT_{k}_{far}_GT EXPIRE_{k}_-1 EXPIREAT_{k}_5 EXPIRE_{k}_100000 PERSIST_{k} PERSIST_{k} TOUCH_{k}_{k} RENAME_{k}_{k} RENAMENX_{k}_{k} COPY_{k}_{k}
		COPY_{k}_{k}_REPLACE COPY_{k}_{k}_DB_{db}_REPLACE MOVE_{k}_{db} SELECT_{db} KEYS_{p}1* KEYS_{p}*:str? DBSIZE SCAN_0_COUNT_5000 SCAN_0_MATCH_{p}2*_COUNT_5000 SCAN_0_TYPE_hash_COUNT_5000 SCAN_x SCAN_0_COUNT_0`),
)

// scripts are EVAL's share: they read, write and delete, also what is of the wrong type, and fail half-way.
var scripts = [][]string{
	{"EVAL", "return {redis.call('GET', KEYS[1]), redis.call('HGET', KEYS[2], ARGV[1])}", "2", "{s}", "{h}", "{f}"},
	{"EVAL", "redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) return redis.call('HLEN', KEYS[1])", "2", "{h}", "{s}", "{f}", "{v}"},
	{"EVAL", "return redis.call('DEL', KEYS[1], KEYS[2])", "2", "{k}", "{k}"},
	{"EVAL", "redis.call('SET', KEYS[1], ARGV[1]) return redis.call('RPUSH', KEYS[2], ARGV[1])", "2", "{s}", "{l}", "{v}"},
	{"EVAL", "redis.call('RENAME', KEYS[1], KEYS[2]) return redis.call('TYPE', KEYS[2])", "2", "{k}", "{k}"},
	{"EVAL_RO", "return redis.call('EXISTS', KEYS[1], KEYS[2])", "2", "{k}", "{k}"},
}

// generator makes random commands over a few keys of a few sessions.
type generator struct {
	*rand.Rand
	prefix string // of every id
	last   int    // stream id
	storm  bool   // sessions are evicted meanwhile, so what lists keys may show one that is on the move
}

var kinds = map[string]string{"{s}": "str", "{h}": "hash", "{l}": "list", "{t}": "set", "{z}": "zset", "{x}": "stream"}

// sessionIDs are the generator's sessions in the keyspace "any"; there is one more in "wa".
func (g *generator) sessionIDs() []string {
	return []string{g.prefix + "1", g.prefix + "2", g.prefix + "3"}
}

func (g *generator) key(kind string) string {
	if kind == "" || g.Intn(12) == 0 {
		kind = []string{"str", "hash", "list", "set", "zset", "stream"}[g.Intn(6)]
	}
	switch n := g.Intn(12); {
	case n == 0:
		return "n:" + g.prefix + ":" + kind
	case n <= 2 && kind == "str":
		return "wa:auth:" + g.prefix + "w:creds"
	case n <= 2 && kind == "hash":
		return "wa:auth:" + g.prefix + "w:keys"
	}
	ids := g.sessionIDs()
	return fmt.Sprintf("s:%s:%s%d", ids[g.Intn(len(ids))], kind, g.Intn(2))
}

var holePattern = regexp.MustCompile(`\{[a-z]+\}`)

func (g *generator) fill(hole string) string {
	switch hole {
	case "{k}":
		return g.key("")
	case "{v}": // no two that differ only behind a zero byte: SORT ALPHA does not see it
		return []string{"", "plain", "z\x00\xff\r\n", "17", strings.Repeat("long", 50), "-3.5", "+OK\r\n$3\r\n", fmt.Sprint(g.Intn(1000))}[g.Intn(8)]
	case "{f}", "{m}":
		return []string{"a", "b", "c", "x\x00", "d\r\n", "pre-key-1", ""}[g.Intn(7)]
	case "{i}":
		return strconv.Itoa(g.Intn(9) - 2)
	case "{n}":
		return []string{"1", "2.5", "-3", "0", "1e3", "inf", "-0.25"}[g.Intn(7)]
	case "{far}":
		return strconv.Itoa(farAway + g.Intn(1000))
	case "{id}":
		g.last++
		return fmt.Sprintf("%d-%d", g.last, g.Intn(3)+1)
	case "{db}":
		return []string{"0", "0", "1"}[g.Intn(3)]
	case "{p}":
		return "s:" + g.prefix
	}
	return g.key(kinds[hole])
}

// command returns a random command, sometimes a wrong one. What lists keys is compared only where nothing moves meanwhile.
func (g *generator) command(inMulti bool) []string {
	var args []string
	if g.Intn(25) == 0 {
		args = slices.Clone(scripts[g.Intn(len(scripts))])
	} else {
		args = strings.Split(templates[g.Intn(len(templates))], "_")
	}
	switch args[0] {
	case "KEYS", "SCAN":
		if g.storm && (inMulti || args[0] == "SCAN") {
			args = []string{"GET", "{s}"}
		}
	case "DBSIZE":
		if g.storm {
			args = []string{"GET", "{s}"}
		}
	}
	for i := range args {
		args[i] = holePattern.ReplaceAllStringFunc(args[i], g.fill)
	}
	switch g.Intn(40) {
	case 0:
		args = args[:max(1, len(args)-1)]
	case 1:
		args = append(args, []string{"junk", "", "NX"}[g.Intn(3)])
	case 2:
		args[0] = strings.ToLower(args[0])
	}
	return args
}

// batch returns commands that belong together: some, or a transaction with or without WATCH.
func (g *generator) batch() (commands [][]string) {
	n := 1 + g.Intn(8)
	multi := g.Intn(8) == 0
	if multi {
		if g.Intn(3) == 0 {
			commands = append(commands, []string{"WATCH", g.key(""), g.key("")}, g.command(true))
		}
		commands = append(commands, []string{"MULTI"})
	}
	for range n {
		commands = append(commands, g.command(multi))
	}
	if multi {
		end := "EXEC"
		if g.Intn(6) == 0 {
			end = "DISCARD"
		}
		commands = append(commands, []string{end})
	}
	return commands
}
