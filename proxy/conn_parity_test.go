package proxy_test

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"credproxy/proxy"
)

// parityScripts are played to a bare Redis and to the proxy, in RESP2 and in RESP3, and every reply must be the same, byte for byte.
// A line is a command of connection A, or of B when it begins with "B: "; {A} and {B} are the ids of the connections. Where a
// protocol is named, the script is for that one only.
var parityScripts = map[string]string{
	"client in multi": `MULTI; CLIENT ID; CLIENT GETNAME; CLIENT SETNAME inner; CLIENT GETNAME; CLIENT NO-EVICT on; CLIENT KILL ID {A} SKIPME yes; CLIENT LIST TYPE x;
		EXEC; CLIENT GETNAME; MULTI; CLIENT SETNAME outer; DISCARD; CLIENT GETNAME; MULTI; CLIENT GETNAME x; EXEC; MULTI; CLIENT NO-EVICT maybe; EXEC`,
	"listing in multi": `SET s:a:k v; MULTI; KEYS *; DBSIZE; SCAN 0; SCAN 0 COUNT 0; SCAN x; RANDOMKEY; SET third v; DBSIZE; DEL third; KEYS s:*; EXEC;
		MULTI; KEYS; EXEC; MULTI; SELECT 2; DBSIZE; SET x y; KEYS *; RANDOMKEY; SCAN 0 MATCH x; EXEC; DBSIZE; SELECT 0; DBSIZE; MULTI; KEYS *; DISCARD`,
	"errors while queueing": `MULTI; GET; EXEC; MULTI; NOSUCH; EXEC; MULTI; SET k v; GET k k; DISCARD; MULTI; CLIENT NOSUCH; EXEC; MULTI; OBJECT; EXEC; EXEC`,
	"errors while running":  `MULTI; SET k v; LPUSH k x; INCR k; GET k; EXEC; MULTI; SELECT 99; GET k; EXEC; GET k`,
	"no place in multi":     `MULTI; WATCH k; PING; EXEC; MULTI; MULTI; PING; EXEC; MULTI; RESET; PING; EXEC`,
	"quit in multi":         `MULTI; SET k v; QUIT`,
	"watch":                 `SET k 1; WATCH k; B: SET k 2; MULTI; GET k; EXEC; WATCH k; UNWATCH; B: SET k 3; MULTI; GET k; EXEC; WATCH k; B: GET k; MULTI; GET k; EXEC; WATCH k; MULTI; UNWATCH; EXEC`,
	"info in multi":         `MULTI; INFO nosuch; ECHO x; TIME x; EXEC`,
	"scripts":               `EVAL "return 1" 0; EVAL "return redis.call('GET', KEYS[1])" 1 k; EVAL "return {1,'a',{2.5,false,true}}" 0; EVAL "return redis.error_reply('MY error')" 0; EVAL "error('x')" 0; EVALSHA ffffffffffffffffffffffffffffffffffffffff 0; SCRIPT LOAD "return 7"; EVALSHA b4cf32ab8bd9a0f5be3f1be0ce9c1ae8eb2c7c2c 0; SCRIPT EXISTS x; EVAL "redis.setresp(3) return redis.call('HGETALL', KEYS[1])" 1 h; EVAL "return {double=1.5}" 0; EVAL "return 1" x; EVAL "return 1" 1; EVAL "return 1" -1; SCRIPT KILL; SCRIPT FLUSH; SCRIPT NOSUCH; PING`,
	"script debug":          `SCRIPT DEBUG NO; SCRIPT DEBUG nosuch; PING`,
	"functions":             `FUNCTION LOAD "#!lua name=l\nredis.register_function('f', function(k, a) return redis.call('GET', k[1]) end)"; SET k v; FCALL f 1 k; FCALL_RO f 1 k; FCALL nosuch 0; FUNCTION LIST; FUNCTION STATS; FUNCTION DELETE l; FUNCTION DELETE l; FUNCTION LOAD x; FUNCTION FLUSH; FUNCTION KILL`,
	"wait":                  `WAIT 0 10; WAIT 1 10; WAIT x 1; WAIT 1; WAIT 0 -1; SET k v; WAIT 0 0; MULTI; WAIT 1 10; EXEC`,
	"blocking times out":    `BLPOP l 0.01; BRPOP l 0.01; BLMOVE a b LEFT LEFT 0.01; BRPOPLPUSH a b 0.01; BZPOPMIN z 0.01; BZPOPMAX z 0.01; BLMPOP 0.01 1 l LEFT; BZMPOP 0.01 1 z MIN; XREAD BLOCK 10 STREAMS x $; BLPOP l -1; BLPOP l x; BLPOP l; SET s v; BLPOP s 0.01; XREAD BLOCK x STREAMS x $; XREADGROUP GROUP g c BLOCK 10 STREAMS x >; BLMPOP 0.01 0 l LEFT; BLMPOP x 1 l LEFT; BZMPOP 0.01 1 z MIDDLE; MULTI; BLPOP l 0; EXEC`,
	"unblock nobody":        `CLIENT UNBLOCK {B}; CLIENT UNBLOCK 99999; CLIENT UNBLOCK x; CLIENT UNBLOCK {B} ERROR; CLIENT UNBLOCK {B} MAYBE; CLIENT UNBLOCK; CLIENT UNBLOCK {B} ERROR x; MULTI; CLIENT UNBLOCK {B}; EXEC`,
	"tracking":              `CLIENT TRACKINGINFO; CLIENT GETREDIR; CLIENT TRACKING OFF; CLIENT TRACKING maybe; CLIENT CACHING yes; CLIENT TRACKING ON NOSUCH; CLIENT TRACKING ON REDIRECT 99999; CLIENT TRACKING ON REDIRECT x; CLIENT TRACKING ON OPTIN OPTOUT; CLIENT TRACKING OFF`,
	"tracking 3":            `CLIENT TRACKING ON; CLIENT TRACKING ON; CLIENT TRACKINGINFO; CLIENT GETREDIR; CLIENT CACHING yes; CLIENT TRACKING ON BCAST; CLIENT TRACKING OFF; CLIENT TRACKING ON OPTIN; CLIENT CACHING no; CLIENT CACHING YES; GET k; B: SET k 9; READ; CLIENT TRACKING OFF; CLIENT TRACKINGINFO`,
	"tracking transaction 3": `CLIENT TRACKING ON; MULTI; GET k; SET k 2; EXEC; B: SET k 3; READ; WATCH k; B: SET k 4; MULTI; GET k; EXEC; MULTI; GET k; EXEC; B: SET k 5; READ; MULTI; GET k; DISCARD;
		KEYS *; MULTI; KEYS *; EXEC; CLIENT TRACKING OFF; GET k`,
	"subscriber's transaction 3": `SUBSCRIBE ch; MULTI; SET k 1; EXEC; B: PUBLISH ch x; READ; WATCH k; UNWATCH; MULTI; GET k; EXEC; UNSUBSCRIBE; GET k`,
	"subscriber 2":               `SUBSCRIBE ch; GET k; PING; MULTI; SELECT 1; CLIENT ID; AUTH x; HELLO 2; RESET; PING`,
	"subscriber quits":           `SUBSCRIBE ch; QUIT`,
	"pubsub":                     `PUBSUB CHANNELS; PUBSUB NUMSUB a b; PUBSUB NUMPAT; PUBSUB SHARDCHANNELS; PUBSUB SHARDNUMSUB a; PUBSUB NOSUCH; PUBLISH a; SPUBLISH a b; UNSUBSCRIBE; PUNSUBSCRIBE; SUNSUBSCRIBE; UNSUBSCRIBE x; SUBSCRIBE; SSUBSCRIBE a; SUNSUBSCRIBE a; PING`,
	"channels of others":         `B: SUBSCRIBE news{P}; B: PSUBSCRIBE {P}n*; PUBSUB CHANNELS news{P}; PUBSUB NUMSUB news{P}; PUBLISH news{P} hi; PUBLISH {P}nn hi; B: READ; B: READ`,
	"reset":                      `CLIENT SETNAME x; SELECT 3; MULTI; RESET; CLIENT GETNAME; SUBSCRIBE ch; RESET; WATCH k; RESET; GET k; CLIENT TRACKINGINFO; RESET x`,
	"client":                     `CLIENT HELP; CLIENT NOSUCH; CLIENT; CLIENT ID x; CLIENT LIST x; CLIENT LIST TYPE nosuch; CLIENT LIST ID x; CLIENT LIST ID; CLIENT LIST TYPE master; CLIENT LIST TYPE pubsub; CLIENT LIST TYPE replica; CLIENT NO-EVICT x; CLIENT NO-EVICT; CLIENT NO-TOUCH on; CLIENT SETINFO lib-name x; CLIENT REPLY x; CLIENT REPLY ON; CLIENT INFO x; CLIENT GETNAME; CLIENT SETNAME ""; CLIENT GETNAME; CLIENT SETNAME "a b"; CLIENT SETNAME "\xff"; CLIENT UNPAUSE; CLIENT UNPAUSE x; CLIENT PAUSE x; CLIENT PAUSE 1 NOSUCH; CLIENT PAUSE -1; CLIENT PAUSE 0; CLIENT PAUSE 5 WRITE; SET k v; CLIENT PAUSE 5; PING`,
	"client kill":                `CLIENT KILL; CLIENT KILL x; CLIENT KILL 1.2.3.4:5; CLIENT KILL ID x; CLIENT KILL ID 0; CLIENT KILL ID -1; CLIENT KILL ID; CLIENT KILL ID 999999; CLIENT KILL TYPE nosuch; CLIENT KILL TYPE master; CLIENT KILL USER nosuch; CLIENT KILL USER; CLIENT KILL SKIPME maybe; CLIENT KILL SKIPME yes ID 999999; CLIENT KILL NOSUCH x; CLIENT KILL ADDR 1.2.3.4:5; CLIENT KILL LADDR x; CLIENT KILL MAXAGE 1; CLIENT KILL ID {B} SKIPME yes; B: PING; CLIENT KILL ID {A} SKIPME no; PING`,
	"reply off":                  `CLIENT REPLY ON; CLIENT REPLY nosuch; CLIENT REPLY; PING`,
	"cluster's":                  `READONLY; READWRITE; ASKING; CLUSTER INFO; CLUSTER KEYSLOT x; CLUSTER NOSUCH; PING`,
	"replica's":                  `PSYNC; SYNC x; ROLE; REPLICAOF NO ONE; SLAVEOF x; FAILOVER; PING`,
	"server":                     `ECHO; ECHO a b; ECHO x; PING a; PING a b; TIME x; LASTSAVE x; DBSIZE; COMMAND COUNT; COMMAND INFO get nosuch; COMMAND GETKEYS GET k; COMMAND GETKEYS PING; COMMAND GETKEYSANDFLAGS SET a b; COMMAND NOSUCH; COMMAND LIST FILTERBY PATTERN xre*; COMMAND DOCS get; LOLWUT VERSION 5 1 1 1; OBJECT HELP; SWAPDB 0 0; MEMORY USAGE nosuch; MEMORY NOSUCH; LATENCY LATEST; LATENCY RESET; LATENCY HISTORY x; SLOWLOG LEN; SLOWLOG RESET; SLOWLOG NOSUCH; MODULE LIST; CONFIG GET maxclients; CONFIG GET databases save; CONFIG NOSUCH; CONFIG GET; CONFIG SET nosuch x; CONFIG SET; CONFIG RESETSTAT`,
	"acl":                        `ACL WHOAMI; ACL USERS; ACL LIST; ACL CAT; ACL CAT dangerous; ACL CAT nosuch; ACL GETUSER default; ACL GETUSER nosuch; ACL GENPASS 999999; ACL DRYRUN default GET k; ACL DRYRUN nosuch GET k; ACL LOG; ACL LOG RESET; ACL NOSUCH; ACL LOAD; ACL SAVE; ACL SETUSER tmp; ACL DELUSER tmp; ACL DELUSER default; ACL WHOAMI x; ACL`,
	"debug":                      `DEBUG; DEBUG NOSUCH; DEBUG SLEEP 0; DEBUG JMAP; SET k v; DEBUG SET-ACTIVE-EXPIRE 1; DEBUG STRINGMATCH-LEN 10 x; DEBUG PROTOCOL string; DEBUG PROTOCOL integer; DEBUG PROTOCOL double; DEBUG PROTOCOL null; DEBUG PROTOCOL array; DEBUG PROTOCOL set; DEBUG PROTOCOL map; DEBUG PROTOCOL verbatim; DEBUG PROTOCOL true; DEBUG PROTOCOL false; DEBUG PROTOCOL bignum; DEBUG PROTOCOL nosuch; PING`,
	"debug attributes":           `DEBUG PROTOCOL attrib; PING`,
	"debug push 3":               `DEBUG PROTOCOL push; PING`,
	"monitor":                    `B: MONITOR; SET k v; B: READMONITOR; PING`,
	"auth":                       `AUTH; AUTH x; AUTH default x; AUTH nosuch x; AUTH a b c; AUTH u1 p1; ACL WHOAMI; GET mine:k; GET k; KEYS *; MULTI; GET k; EXEC; MULTI; GET mine:k; EXEC; SUBSCRIBE ch; CONFIG GET x; CLIENT ID; AUTH u1 wrong; ACL WHOAMI; RESET; ACL WHOAMI`,
	"auth with a watch":          `WATCH k; AUTH u1 p1; MULTI; GET mine:k; EXEC; ACL WHOAMI`,
	"auth of a subscriber 3":     `SUBSCRIBE ch; AUTH u1 p1; ACL WHOAMI`,
	"hello and state":            `WATCH k; HELLO 3; MULTI; HGETALL h; EXEC; HELLO 2; HGETALL h`,
	"hello of a subscriber 3":    `SUBSCRIBE ch; HELLO 3; HELLO 2; GET k`,
	"select":                     `SELECT 1; SET k v; SELECT 0; GET k; SELECT 99; SELECT x; SELECT -1; SELECT 1.5; SELECT " 1"; SELECT 01; SELECT +1; SELECT ""; SELECT 99999999999999999999; SELECT 4294967296; MOVE k 1; MOVE k 99; SELECT 1; FLUSHDB; FLUSHDB x; FLUSHALL ASYNC x; DBSIZE`,
	"help": `ACL HELP; CLUSTER HELP; COMMAND HELP; CONFIG HELP; FUNCTION HELP; LATENCY HELP; MEMORY HELP; MODULE HELP; PUBSUB HELP; SCRIPT HELP; SLOWLOG HELP; XGROUP HELP; XINFO HELP;
		CLIENT HELP; OBJECT HELP; DEBUG HELP; FUNCTION; LATENCY; MODULE; XINFO; XGROUP; MEMORY; SLOWLOG; CLUSTER; ACL HELP x`,
	"cluster's subcommands": `CLUSTER ADDSLOTS 1; CLUSTER ADDSLOTSRANGE 1 2; CLUSTER BUMPEPOCH; CLUSTER COUNT-FAILURE-REPORTS x; CLUSTER COUNTKEYSINSLOT 1; CLUSTER DELSLOTS 1;
		CLUSTER DELSLOTSRANGE 1 2; CLUSTER FAILOVER; CLUSTER FLUSHSLOTS; CLUSTER FORGET x; CLUSTER GETKEYSINSLOT 1 1; CLUSTER LINKS; CLUSTER MEET 127.0.0.1 1; CLUSTER MYID; CLUSTER NODES;
		CLUSTER REPLICAS x; CLUSTER REPLICATE x; CLUSTER RESET; CLUSTER SAVECONFIG; CLUSTER SET-CONFIG-EPOCH 1; CLUSTER SETSLOT 1 STABLE; CLUSTER SHARDS; CLUSTER SLAVES x; CLUSTER SLOTS`,
	"rarely called": `BGREWRITEAOF x; BGSAVE NOSUCH; SAVE x; CONFIG REWRITE; SHUTDOWN NOSUCH; SHUTDOWN ABORT; MODULE LOAD /nosuch; MODULE LOADEX /nosuch; MODULE UNLOAD nosuch;
		FUNCTION DUMP; FUNCTION RESTORE bad; LATENCY DOCTOR; LATENCY GRAPH x; LATENCY HISTOGRAM nosuch; MEMORY DOCTOR x; MEMORY MALLOC-STATS x; MEMORY PURGE; MEMORY STATS x; SLOWLOG GET x;
		SLOWLOG GET -5; SLOWLOG RESET; SLOWLOG GET 0; PFADD k a; PFDEBUG ENCODING k; PFDEBUG DECODE k; PFDEBUG NOSUCH k; PFDEBUG GETREG nosuch; PFSELFTEST x; RESTORE-ASKING k 0 bad;
		EVALSHA_RO ffffffffffffffffffffffffffffffffffffffff 1 k; XGROUP CREATE x g $ MKSTREAM; XINFO CONSUMERS x g; XINFO CONSUMERS x nosuch; XINFO CONSUMERS nosuch g`,
	"own keys":     `KEYS credproxy:*; SCAN 0 MATCH credproxy:* COUNT 1000; DBSIZE; RANDOMKEY; EXISTS nosuch`,
	"case":         `ping; pInG; set k v; get k; client getname; Multi; exEC; hello 3; HELLO 2; object encoding k; cOnFiG get maxclients`,
	"expiry":       `SET k v EX 100; TTL k; SET k v EX 0; SET k v PX -1; EXPIRE k 100; EXPIRE k x; GETEX k PERSIST; TTL k; OBJECT FREQ k; OBJECT IDLETIME k; OBJECT REFCOUNT k; PERSIST k; SET k v EXAT 1; GET k`,
	"sort":         `RPUSH l 3 1 2; SORT l; SORT l BY w_*; SORT l GET #; SORT l STORE d; SORT_RO l; SORT_RO l STORE d; SORT l LIMIT 0; SORT l ALPHA DESC`,
	"restore dump": `SET k v; DUMP nosuch; RESTORE a 0 x; COPY k k2; COPY k k2; COPY k k2 DB 1; MIGRATE 127.0.0.1 1 k 0 1; MIGRATE 127.0.0.1; OBJECT ENCODING k`,
}

var (
	numberPattern = regexp.MustCompile(`(id|addr|laddr|fd|age|idle|qbuf|qbuf-free|argv-mem|multi-mem|rbs|rbp|tot-mem|omem|events)=\S*`)
	timePattern   = regexp.MustCompile(`\+\d+\.\d+ \[(\d+) [^\]]*\]`)
)

// parity is one script under way on one server.
type parity struct {
	t     *testing.T
	conns map[string]*wire
	ids   map[string]string
	asked bool   // for an id, in a transaction too
	proto string // for names that scripts of the two protocols do not share
}

func newParity(t *testing.T, addr string, proto int) *parity {
	p := &parity{t: t, conns: map[string]*wire{}, ids: map[string]string{}, proto: fmt.Sprint(proto)}
	for _, name := range []string{"A", "B"} {
		p.conns[name] = dialProto(t, addr, proto)
		p.ids[name] = fmt.Sprint(parseReply(t, p.conns[name].ask("CLIENT", "ID")).Int)
	}
	return p
}

// play runs one line and returns what comes back, without what differs between any two servers.
func (p *parity) play(line string) string {
	conn := p.conns["A"]
	if rest, ok := strings.CutPrefix(line, "B: "); ok {
		conn, line = p.conns["B"], rest
	}
	line = strings.NewReplacer("{A}", p.ids["A"], "{B}", p.ids["B"], "{P}", p.proto).Replace(line)
	if line == "READMONITOR" { // the proxy's own commands are seen, too
		for {
			reply, err := conn.frame()
			if err != nil || strings.Contains(reply, `"SET" "k"`) {
				return timePattern.ReplaceAllString(reply, "T [$1 A]")
			}
		}
	}
	p.asked = p.asked || line == "CLIENT ID"
	var reply string
	var err error
	if line == "READ" {
		reply, err = conn.frame()
	} else {
		reply, err = conn.do(wordsOf(line)...)
	}
	if err != nil {
		return "connection closed"
	}
	for name, id := range p.ids {
		if !strings.Contains(line, "CLIENT ID") && !(line == "EXEC" && p.asked) {
			break // a number that happens to be the same
		}
		reply = strings.ReplaceAll(reply, ":"+id+"\r\n", ":{"+name+"}\r\n")
	}
	if strings.Contains(reply, " laddr=") {
		_, reply, _ = strings.Cut(reply, "\r\n")
	}
	return withoutID(numberPattern.ReplaceAllString(reply, "$1=N"))
}

func TestParity(t *testing.T) {
	e := newEnv(t, func(cfg *proxy.Config) { cfg.Deny, cfg.Flush = nil, proxy.FlushAll })
	must(t, e.direct.ACLSetUser(context.Background(), "u1", "on", ">p1", "~mine:*", "+@all", "-@dangerous", "-config").Err())
	for name, script := range parityScripts {
		for _, proto := range []int{2, 3} {
			if last := name[len(name)-1]; (last == '2' && proto == 3) || (last == '3' && proto == 2) {
				continue
			}
			t.Run(fmt.Sprintf("RESP%d/%s", proto, name), func(t *testing.T) {
				e.compareScript(t, proto, strings.Split(strings.Join(strings.Fields(script), " "), "; "))
			})
		}
	}
}

func (e *env) compareScript(t *testing.T, proto int, lines []string) {
	t.Helper()
	ctx := context.Background()
	must(t, e.direct.FlushAll(ctx).Err())
	must(t, e.direct.ACLLogReset(ctx).Err())
	bare := newParity(t, e.redis.Addr(), proto)
	var want []string
	for _, line := range lines {
		want = append(want, bare.play(line))
	}
	for _, c := range bare.conns {
		c.nc.Close()
	}
	e.wire().want("+OK\r\n", "FLUSHALL")
	proxied := newParity(t, e.server.Addr().String(), proto)
	for i, line := range lines {
		if got := proxied.play(line); got != want[i] {
			t.Errorf("%s\n  redis: %.300q\n  proxy: %.300q", line, want[i], got)
		}
	}
}

// What cannot be given is refused, in words that the README lists, and spoils nothing.
func TestWhatTheProxyCannotGive(t *testing.T) {
	e := newEnv(t, func(cfg *proxy.Config) { cfg.Deny = nil })
	c := e.wire()
	for _, line := range []string{"AUTH x", "HELLO 3", "SUBSCRIBE ch", "UNSUBSCRIBE", "CLIENT REPLY OFF", "CLIENT TRACKING ON", "MONITOR", "FLUSHALL", "SWAPDB 0 1",
		"CREDPROXY STATS", "SYNC", "REPLCONF x"} {
		c.want("+OK\r\n", "MULTI")
		c.want("+QUEUED\r\n", "SET", "s:a:k", line)
		name := line
		if words := strings.Fields(line); words[0] != "CLIENT" {
			name = words[0]
		} else {
			name = "CLIENT " + words[1]
		}
		c.want("-ERR credproxy: "+name+" is not supported inside MULTI\r\n", strings.Fields(line)...)
		c.want("-EXECABORT Transaction discarded because of previous errors.\r\n", "EXEC")
	}
	for _, line := range []string{"SCRIPT DEBUG yes", "SYNC", "PSYNC ? -1", "REPLCONF capa eof"} {
		c.wantPrefix("-ERR credproxy: ", strings.Fields(line)...)
	}
	c.want("$-1\r\n", "GET", "s:a:k")
	c.want("+OK\r\n", "WATCH", "s:a:k")
	c.wantPrefix("-ERR credproxy: MONITOR is not supported while a transaction or WATCH is open", "MONITOR")
	c.want("+OK\r\n", "UNWATCH")
	c.want("+PONG\r\n", "PING")
}
