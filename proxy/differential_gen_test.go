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
// sorted set or stream, {y} one whose members all have the same score, {k} is any key but that; {v} is a value, {f} a field, {m} a member, {i} a small number, {n} a score, {far} a time in
// the distant future, {id} a stream id that rises, {db} a database.
var templates = slices.Concat(
	strings.Fields(strings.Repeat("GET_{s} SET_{s}_{v} HSET_{h}_{f}_{v} HGET_{h}_{f} RPUSH_{l}_{v} SADD_{t}_{m} ZADD_{z}_{n}_{m} XADD_{x}_{id}_f_{v} DEL_{k} ", 4)),
	strings.Fields(`APPEND_{s}_{v} STRLEN_{s} GETRANGE_{s}_{i}_{i} SETRANGE_{s}_{i}_{v} SETBIT_{s}_{i}_1 GETBIT_{s}_{i} BITCOUNT_{s} BITPOS_{s}_1
		INCR_{s} DECR_{s} INCRBY_{s}_{i} DECRBY_{s}_{i} INCRBYFLOAT_{s}_{n} SETNX_{s}_{v} GETSET_{s}_{v} GETDEL_{s} GETEX_{s} GETEX_{s}_PERSIST
		GETEX_{s}_PXAT_{far} SET_{s}_{i} SET_{s}_{v}_XX SET_{s}_{v}_NX SET_{s}_{v}_GET SET_{s}_{v}_KEEPTTL SET_{s}_{v}_PXAT_{far} MGET_{s}_{k}_{s}
		MSET_{s}_{v}_{s}_{v} MSETNX_{s}_{v}_{s}_{v} BITOP_XOR_{s}_{s}_{s} BITOP_NOT_{s}_{s} BITFIELD_{s}_INCRBY_u8_{i}_3 LCS_{s}_{s} PFADD_{s}_{m}_{m}
		PFCOUNT_{s} PFMERGE_{s}_{s} SETEX_{s}_100000_{v} PSETEX_{s}_100000000_{v} SUBSTR_{s}_{i}_{i} SET_{s}_{v}_EX_0 SET_{s}_{v}_NX_XX SET_{s}_{v}_NX_GET
		SET_{s}_{v}_EXAT_4102444800 GETEX_{s}_EX_100000 GETEX_{s}_PX_x BITCOUNT_{s}_{i}_{i}_BIT BITCOUNT_{s}_{i}_{i} BITPOS_{s}_0_{i}_{i} BITPOS_{s}_{i} BITOP_AND_{s}_{s}_{k}
		BITOP_OR_{s}_{s}_{s}_{s} BITOP_NOT_{s}_{s}_{s} BITFIELD_{s}_GET_i{i}_{i} BITFIELD_{s}_SET_u4_#{i}_{i}_OVERFLOW_SAT_INCRBY_i8_{i}_100 BITFIELD_{s}_OVERFLOW_FAIL_INCRBY_u2_1_2
		BITFIELD_RO_{s}_GET_u8_{i} SETBIT_{s}_{i}_2 PFADD_{s} PFADD_{s}_{m}_{v}_{i} PFCOUNT_{s}_{s} PFMERGE_{s}_{s}_{s} LCS_{s}_{s}_IDX LCS_{s}_{s}_LEN MSET_{s}_{v}_{s}
		INCRBY_{s}_{v} INCRBYFLOAT_{s}_{v} SETRANGE_{s}_{i}_ GETRANGE_{s}_{v}_{i}`),
	strings.Fields(`HSET_{h}_{f}_{v}_{f}_{v} HMGET_{h}_{f}_{f}_{f} HGETALL_{h} HKEYS_{h} HVALS_{h} HLEN_{h} HEXISTS_{h}_{f} HSTRLEN_{h}_{f} HSETNX_{h}_{f}_{v}
		HDEL_{h}_{f} HDEL_{h}_{f}_{f}_{f} HINCRBY_{h}_{f}_{i} HINCRBYFLOAT_{h}_{f}_{n} HMSET_{h}_{f}_{v}_{f}_{v} HSCAN_{h}_0_COUNT_1000 HSET_{h}_{f}_{i}
		HRANDFIELD_{h}_100 HRANDFIELD_{h}_0 HRANDFIELD_{h}_x HSCAN_{h}_0_MATCH_?_COUNT_1000 HSCAN_{h}_x HSCAN_{h}_0_COUNT_0 HSET_{h}_{f} HINCRBY_{h}_{f}_{v} HMSET_{h}_{f}`),
	strings.Fields(`LPUSH_{l}_{v}_{v} LPUSHX_{l}_{v} RPUSHX_{l}_{v} LPOP_{l} RPOP_{l} LPOP_{l}_{i} LRANGE_{l}_0_-1 LRANGE_{l}_{i}_{i} LLEN_{l} LINDEX_{l}_{i} LSET_{l}_{i}_{v}
		LREM_{l}_0_{v} LTRIM_{l}_0_{i} LINSERT_{l}_BEFORE_{v}_{v} LPOS_{l}_{v} RPOPLPUSH_{l}_{l} LMOVE_{l}_{l}_LEFT_RIGHT LMPOP_2_{l}_{l}_LEFT
		BLPOP_{l}_{l}_0.001 BLMOVE_{l}_{l}_LEFT_LEFT_0.001 SORT_{l}_ALPHA SORT_{l} SORT_{l}_ALPHA_STORE_{k}
		SORT_{l}_ALPHA_GET_#_GET_#_LIMIT_{i}_{i} SORT_{l}_DESC_ALPHA_LIMIT_0_2 SORT_RO_{l}_ALPHA SORT_{l}_LIMIT_0 SORT_{l}_BAD LPOP_{l}_{v} BRPOP_{l}_{l}_0.001 BRPOPLPUSH_{l}_{l}_0.001
		BLMPOP_0.001_2_{l}_{l}_RIGHT_COUNT_2 LMPOP_1_{l}_LEFT_COUNT_{i} LPOS_{l}_{v}_RANK_{i}_COUNT_0 LPOS_{l}_{v}_MAXLEN_1 LINSERT_{l}_AFTER_{v}_{v} LREM_{l}_{i}_{v}
		LMOVE_{l}_{k}_RIGHT_LEFT BLPOP_{l}_x BLPOP_{l}_-1 BLMPOP_0.001_0_{l}_LEFT LMOVE_{l}_{l}_UP_LEFT LSET_{l}_{v}_{v}`),
	strings.Fields(`SADD_{t}_{m}_{m}_{i} SREM_{t}_{m}_{i} SMEMBERS_{t} SCARD_{t} SISMEMBER_{t}_{m} SMISMEMBER_{t}_{m}_{m} SMOVE_{t}_{t}_{m} SINTER_{t}_{t} SUNION_{t}_{t}
		SDIFF_{t}_{t} SINTERSTORE_{t}_{t}_{t} SUNIONSTORE_{t}_{t}_{t} SDIFFSTORE_{t}_{t}_{t} SINTERCARD_2_{t}_{t} SSCAN_{t}_0_COUNT_1000 SORT_{t}_ALPHA
		SPOP_{t}_100 SPOP_{t}_x SPOP_{t}_-1 SRANDMEMBER_{t}_100 SRANDMEMBER_{t}_0 SINTERCARD_2_{t}_{t}_LIMIT_{i} SINTERCARD_0_{t} SSCAN_{t}_0_MATCH_[a-c]_COUNT_1000 SADD_{t}_{i}_{i}_{i} SDIFFSTORE_{k}_{t}_{t}
		SMOVE_{t}_{k}_{m}`),
	strings.Fields(`ZADD_{z}_{n}_{m}_{n}_{m} ZADD_{z}_XX_CH_{n}_{m} ZADD_{z}_GT_INCR_{n}_{m} ZSCORE_{z}_{m} ZMSCORE_{z}_{m}_{m} ZCARD_{z} ZCOUNT_{z}_0_5 ZRANK_{z}_{m}
		ZRANGE_{z}_0_-1_WITHSCORES ZRANGE_{z}_-inf_+inf_BYSCORE ZREVRANGE_{z}_0_{i} ZRANGEBYSCORE_{z}_0_{i}_WITHSCORES ZINCRBY_{z}_{n}_{m} ZREM_{z}_{m}_{m}
		ZREMRANGEBYRANK_{z}_0_{i} ZREMRANGEBYSCORE_{z}_0_2 ZPOPMIN_{z} ZPOPMAX_{z}_{i} BZPOPMIN_{z}_{z}_0.001 ZUNIONSTORE_{z}_2_{z}_{t} ZINTERSTORE_{z}_2_{z}_{z}
		ZDIFFSTORE_{z}_2_{z}_{z} ZRANGESTORE_{z}_{z}_0_{i} ZUNION_2_{z}_{z}_WITHSCORES ZSCAN_{z}_0_COUNT_1000 GEOADD_{z}_13.36_38.11_{m} GEOPOS_{z}_{m}
		GEOADD_{z}_{i}.5_{n}_{m} GEOADD_{z}_NX_CH_15.08_37.5_{m} GEODIST_{z}_{m}_{m}_km GEODIST_{z}_{m}_{m}_x GEOHASH_{z}_{m}_{m} GEOSEARCH_{z}_FROMLONLAT_15_37_BYRADIUS_300_km_ASC_WITHDIST_WITHCOORD
		GEOSEARCH_{z}_FROMMEMBER_{m}_BYBOX_400_400_km_DESC GEOSEARCHSTORE_{z}_{z}_FROMLONLAT_15_37_BYRADIUS_400_km_STOREDIST GEORADIUS_{z}_15_37_200_km_STORE_{k}
		GEORADIUS_{z}_15_37_200_km_ASC_COUNT_2 GEORADIUSBYMEMBER_{z}_{m}_100_km GEORADIUS_RO_{z}_15_37_{v}_km GEORADIUSBYMEMBER_RO_{z}_{m}_100_mi_WITHHASH
		ZADD_{z}_NX_GT_{n}_{m} ZADD_{z}_LT_CH_{n}_{m} ZADD_{z}_INCR_{n}_{m}_{n}_{m} ZADD_{z}_{v}_{m} ZREVRANK_{z}_{m} ZLEXCOUNT_{z}_-_+ ZRANGEBYLEX_{z}_a_c
		ZADD_{y}_0_{m}_0_{m} ZADD_{y}_0_{m}_0_{m} ZLEXCOUNT_{y}_[a_(c ZRANGEBYLEX_{y}_[a_(c ZRANGE_{y}_[a_+_BYLEX_LIMIT_0_2 ZREVRANGEBYLEX_{y}_+_[b ZREMRANGEBYLEX_{y}_[a_[b
		ZRANGE_{z}_+inf_-inf_BYSCORE_REV_LIMIT_{i}_{i}_WITHSCORES ZREVRANGEBYSCORE_{z}_(5_-inf ZINTER_2_{z}_{t} ZDIFF_2_{z}_{z}_WITHSCORES
		ZINTERCARD_2_{z}_{z}_LIMIT_1 ZMPOP_2_{z}_{z}_MIN_COUNT_{i} BZMPOP_0.001_1_{z}_MAX BZPOPMAX_{z}_{z}_0.001 ZRANDMEMBER_{z}_100 ZUNIONSTORE_{k}_2_{z}_{z}_WEIGHTS_2_{n}_AGGREGATE_MAX
		ZINTERSTORE_{z}_0_{z} ZRANGESTORE_{z}_{z}_-inf_+inf_BYSCORE ZUNION_1_{z}_AGGREGATE_NO ZPOPMIN_{z}_{v} ZSCAN_{z}_0_MATCH_*a*_COUNT_1000 SORT_{z}_ALPHA`),
	strings.Fields(`XADD_{x}_MAXLEN_3_{id}_f_{v} XADD_{x}_1-1_f_{v} XLEN_{x} XRANGE_{x}_-_+ XREVRANGE_{x}_+_-_COUNT_2 XDEL_{x}_{id} XTRIM_{x}_MAXLEN_{i} XREAD_STREAMS_{x}_{x}_0_0
		XGROUP_CREATE_{x}_g_0 XGROUP_DESTROY_{x}_g XREADGROUP_GROUP_g_c_COUNT_2_STREAMS_{x}_> XACK_{x}_g_1-1 XPENDING_{x}_g XINFO_GROUPS_{x}
		XADD_{x}_NOMKSTREAM_{id}_f_{v} XADD_{x}_{id}_f XADD_{x}_MINID_~_1_{id}_f_{v} XADD_{x}_0-0_f_v XREAD_BLOCK_1_STREAMS_{x}_$ XREAD_COUNT_1_STREAMS_{x}_{x}_0_$ XREAD_STREAMS_{x}
		XGROUP_CREATE_{x}_g_$_MKSTREAM XGROUP_SETID_{x}_g_0 XGROUP_CREATECONSUMER_{x}_g_c2 XGROUP_DELCONSUMER_{x}_g_c XREADGROUP_GROUP_g_c_STREAMS_{x}_0 XREADGROUP_GROUP_g_c_BLOCK_1_STREAMS_{x}_>
		XREADGROUP_GROUP_g_c_NOACK_STREAMS_{x}_> XCLAIM_{x}_g_c2_0_1-1_2-1_JUSTID XAUTOCLAIM_{x}_g_c2_0_0_JUSTID XSETID_{x}_{id} XTRIM_{x}_MINID_{i} XRANGE_{x}_(1-1_+_COUNT_{i} XINFO_STREAM_{x} XDEL_{x}_x
		XPENDING_{x}_nope`),
	strings.Fields(`DEL_{k}_{k}_{k} UNLINK_{k}_{k} EXISTS_{k}_{k}_{k} TYPE_{k} TYPE_{k} TTL_{k} PTTL_{k} PEXPIRETIME_{k} EXPIRETIME_{k} PEXPIREAT_{k}_{far} PEXPIREAT_{k}_{far}_NX
		PEXPIREAT_{k}_{far}_GT EXPIRE_{k}_-1 EXPIREAT_{k}_5 EXPIRE_{k}_100000 PERSIST_{k} PERSIST_{k} TOUCH_{k}_{k} RENAME_{k}_{k} RENAMENX_{k}_{k} COPY_{k}_{k}
		COPY_{k}_{k}_REPLACE COPY_{k}_{k}_DB_{db}_REPLACE MOVE_{k}_{db} SELECT_{db} KEYS_{p}1* KEYS_{p}*:str? DBSIZE SCAN_0_COUNT_5000 SCAN_0_MATCH_{p}2*_COUNT_5000 SCAN_0_TYPE_hash_COUNT_5000 SCAN_x SCAN_0_COUNT_0
		SCAN_0_TYPE_nosuch_MATCH_*_COUNT_5000 DBSIZE_x KEYS KEYS_{p}[12]:* KEYS_nothing DBSIZE OBJECT_FREQ_{k} OBJECT_NOSUCH_{k} OBJECT_ENCODING OBJECT_HELP
		PEXPIRE_{k}_100000000_XX PEXPIRE_{k}_100000000_LT EXPIRE_{k}_100000_NX_GT EXPIREAT_{k}_{v} COPY_{k}_{k}_DB_x COPY_{k}_{k}_DB_99 MOVE_{k}_99 SELECT_99 WAIT_0_0 DUMP_nothing TTL TYPE_{k}_{k}
		ECHO_{v} PING_{v} UNWATCH NOSUCH_{k} EXEC DISCARD`),
)

// scripts are EVAL's share: they read, write and delete, also what is of the wrong type, and fail half-way.
var scripts = [][]string{
	{"EVAL", "return {redis.call('GET', KEYS[1]), redis.call('HGET', KEYS[2], ARGV[1])}", "2", "{s}", "{h}", "{f}"},
	{"EVAL", "redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) return redis.call('HLEN', KEYS[1])", "2", "{h}", "{s}", "{f}", "{v}"},
	{"EVAL", "return redis.call('DEL', KEYS[1], KEYS[2])", "2", "{k}", "{k}"},
	{"EVAL", "redis.call('SET', KEYS[1], ARGV[1]) return redis.call('RPUSH', KEYS[2], ARGV[1])", "2", "{s}", "{l}", "{v}"},
	{"EVAL", "redis.call('RENAME', KEYS[1], KEYS[2]) return redis.call('TYPE', KEYS[2])", "2", "{k}", "{k}"},
	{"EVAL_RO", "return redis.call('EXISTS', KEYS[1], KEYS[2])", "2", "{k}", "{k}"},
	{"EVAL_RO", "return redis.call('DEL', KEYS[1])", "1", "{k}"},
	{"EVAL", "redis.call('XADD', KEYS[1], '*', 'f', ARGV[1]) return redis.call('DEL', KEYS[1])", "1", "{x}", "{v}"},
	{"EVAL", "return {redis.pcall('INCR', KEYS[1]), redis.pcall('ZINCRBY', KEYS[2], ARGV[1], 'a')}", "2", "{s}", "{z}", "{n}"},
	{"EVAL", "redis.setresp(3) return redis.call('HGETALL', KEYS[1])['a']", "1", "{h}"},
	{"EVAL", "redis.call('PEXPIREAT', KEYS[1], ARGV[1]) return redis.call('PEXPIRETIME', KEYS[1])", "1", "{k}", "{far}"},
	{"EVAL", "return redis.call('SET', KEYS[1])", "1", "{s}"},
	{"EVALSHA", "ffffffffffffffffffffffffffffffffffffffff", "1", "{k}"},
	{"EVAL", "return 1", "{i}", "{k}"},
}

// generator makes random commands over a few keys of a few sessions.
type generator struct {
	*rand.Rand
	prefix string // of every id
	last   int    // stream id
	storm  bool   // sessions are evicted meanwhile
}

var kinds = map[string]string{"{s}": "str", "{h}": "hash", "{l}": "list", "{t}": "set", "{z}": "zset", "{x}": "stream", "{y}": "lex"}

// sessionIDs are the generator's sessions in the keyspace "any"; there is one more in "wa".
func (g *generator) sessionIDs() []string {
	return []string{g.prefix + "1", g.prefix + "2", g.prefix + "3"}
}

func (g *generator) key(kind string) string {
	if kind == "" || kind != "lex" && g.Intn(12) == 0 {
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

// templateWords splits a template. Underscores stand for spaces, but for the one that is part of a name.
func templateWords(template string) []string {
	args := strings.Split(strings.Replace(template, "_RO_", "-RO_", 1), "_")
	args[0] = strings.Replace(args[0], "-RO", "_RO", 1)
	return args
}

// command returns a random command, sometimes a wrong one.
func (g *generator) command() []string {
	var args []string
	if g.Intn(25) == 0 {
		args = slices.Clone(scripts[g.Intn(len(scripts))])
	} else {
		args = templateWords(templates[g.Intn(len(templates))])
	}
	if g.storm && args[0] == "SCAN" { // many commands, whose pages may show what is on the move
		args = []string{"GET", "{s}"}
	}
	for i := range args {
		args[i] = holePattern.ReplaceAllStringFunc(args[i], g.fill)
	}
	wrong := g.Intn(40)
	if strings.Contains("SPOP SRANDMEMBER HRANDFIELD ZRANDMEMBER", args[0]) {
		wrong = 2 // with another count, what they give would be drawn
	}
	switch wrong {
	case 0:
		args = args[:max(1, len(args)-1)]
	case 1:
		args = append(args, []string{"junk", "", "NX"}[g.Intn(3)])
	case 2:
		args[0] = strings.ToLower(args[0])
	case 3: // never a cursor, whose meaning depends on the seed of Redis's hashes, nor a time to wait that does not end
		if at := 1 + g.Intn(len(args)); at > 1 && at < len(args) && !(at == 2 && strings.HasSuffix(args[0], "SCAN")) && args[0] != "SCAN" && !strings.Contains(args[1], ":lex") {
			args[at] = []string{"bad", "-1", "99999999999999999999", "", " 1", "1.5"}[g.Intn(6)]
		}
	}
	return args
}

// batch returns commands that belong together: some, or a transaction with or without WATCH.
func (g *generator) batch() (commands [][]string) {
	n := 1 + g.Intn(8)
	multi := g.Intn(8) == 0
	if multi {
		if g.Intn(3) == 0 {
			commands = append(commands, []string{"WATCH", g.key(""), g.key("")}, g.command())
		}
		commands = append(commands, []string{"MULTI"})
	}
	for range n {
		commands = append(commands, g.command())
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
