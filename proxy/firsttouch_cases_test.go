package proxy_test

// The cases of TestFirstTouch, one script a line. {a} and {c} begin the keys of evicted sessions, {b} those of a resident one,
// {n} keys of no session, {w} those of an evicted session in another keyspace, {h} those of a large evicted session, and {d}
// those of an evicted session in database 1. Which keys there are, firstTouchData says.

var stringCases = []string{
	`GET {a}str`, `GET {a}bin`, `GET {a}empty`, `GET {a}num`, `GET {a}missing`, `GET {a}hash`, `GET {w}creds`,
	`GETRANGE {a}str 2 5`, `GETRANGE {a}bin -4 -1`, `SUBSTR {a}str 0 3`, `STRLEN {a}str`, `STRLEN {a}bin`, `STRLEN {a}missing`,
	`STRLEN {a}set`, `GETBIT {a}bin 9`, `BITCOUNT {a}bin`, `BITCOUNT {a}bin 1 2 BYTE`, `BITPOS {a}bin 1`, `BITFIELD_RO {a}bin GET u8 8`,
	`LCS {a}str {b}str`, `LCS {a}str {c}str IDX`, `LCS {a}str {c}hash`,
	`MGET {a}str {a}missing {b}str {n}str {c}bin {a}hash`, `MGET {n}str {b}str {c}str`, `MGET {w}creds {a}num {w}missing`,
	`APPEND {a}str " and more"`, `APPEND {a}bin "\x00\xff"`, `APPEND {a}missing x`, `APPEND {a}ttl x`, `APPEND {a}list x`,
	`SETRANGE {a}str 6 THERE`, `SETRANGE {a}missing 3 x`, `SETRANGE {a}str -1 x`, `SETBIT {a}bin 5 1`, `SETBIT {a}missing 5 1`,
	`BITFIELD {a}bin INCRBY u8 0 3 GET u4 0`, `BITFIELD {a}bin OVERFLOW FAIL INCRBY u2 100 5`,
	`BITOP AND {a}dst {a}str {a}bin`, `BITOP XOR {b}dst {a}str {c}str`, `BITOP NOT {n}dst {a}bin`, `BITOP OR {a}str {b}str {n}missing`,
	`INCR {a}num`, `INCR {a}str`, `INCR {a}missing`, `INCRBY {a}num 10`, `INCRBY {a}num x`, `DECR {a}num`, `DECRBY {a}num 50`,
	`INCRBYFLOAT {a}flt 0.1`, `INCRBYFLOAT {a}str 1`, `INCR {a}hash`,
	`SET {a}str new`, `SET {a}str new XX`, `SET {a}str new NX`, `SET {a}missing new NX`, `SET {a}missing new XX`, `SET {a}str new GET`,
	`SET {a}hash new`, `SET {a}hash new GET`, `SET {a}ttl new KEEPTTL`, `SET {a}ttl new`, `SET {a}str new PXAT 4102444800001`,
	`SET {a}str new EX 1000`, `SET {a}str new NX GET`, `SET {a}str new EX 0`, `SET {a}str new BAD`, `SETEX {a}str 1000 v`, `PSETEX {a}str 100000 v`,
	`SETNX {a}str x`, `SETNX {a}missing x`, `SETNX {a}hash x`, `GETSET {a}str new`, `GETSET {a}ttl new`, `GETSET {a}list new`,
	`GETDEL {a}str`, `GETDEL {a}missing`, `GETDEL {a}hash`, `GETDEL {a}bin; GET {a}bin`, `GETDEL {w}creds; EXISTS {w}creds {w}keys`,
	`GETEX {a}str`, `GETEX {a}ttl PERSIST`, `GETEX {a}str PXAT 4102444800777`, `GETEX {a}str EX 1000`, `GETEX {a}hash EX 10`,
	`MSET {a}str 1 {b}str 2 {c}new 3 {n}str 4`, `MSETNX {a}new 1 {c}str 2`, `MSETNX {a}new 1 {c}new 2 {n}new 3`, `MSETNX {n}new 1 {a}hash 2`,
	`PFADD {a}hll a d`, `PFADD {a}hll a`, `PFCOUNT {a}hll`, `PFCOUNT {a}hll {b}hll {c}hll`, `PFMERGE {b}hll {a}hll`, `PFCOUNT {a}str`,
}

var keyCases = []string{
	`EXISTS {a}str {a}str {b}str {n}str {a}missing {c}hash`, `EXISTS {a}missing`, `TOUCH {a}str {c}hash {b}missing`,
	`TYPE {a}str`, `TYPE {a}hash`, `TYPE {a}list`, `TYPE {a}set`, `TYPE {a}zset`, `TYPE {a}stream`, `TYPE {a}missing`,
	`TTL {a}ttl`, `PTTL {a}ttl`, `TTL {a}str`, `TTL {a}missing`, `EXPIRETIME {a}httl`, `PEXPIRETIME {a}ttl`, `PEXPIRETIME {a}httl`,
	`PEXPIRETIME {a}lttl`, `PTTL {w}keys`,
	`EXPIRE {a}str 1000`, `PEXPIRE {a}hash 100000`, `EXPIREAT {a}list 4102444801`, `PEXPIREAT {a}stream 4102444801234; PEXPIRETIME {a}stream`,
	`EXPIRE {a}ttl 1000 NX`, `EXPIRE {a}ttl 1000 XX`, `EXPIRE {a}ttl 1000 GT`, `EXPIRE {a}ttl 1000 LT`, `EXPIRE {a}str 0`, `EXPIREAT {a}hash 1`,
	`EXPIRE {a}hash -1 NX`, `EXPIRE {a}str x`, `EXPIRE {a}missing 10`, `PERSIST {a}ttl`, `PERSIST {a}httl`, `PERSIST {a}str`, `PERSIST {a}missing`,
	`DEL {a}str`, `DEL {a}str {a}hash {b}str {n}str {c}zset {a}missing`, `DEL {a}missing`, `UNLINK {a}stream {c}list {c}set {b}hash`,
	`DEL {w}creds {w}keys; HGET {w}keys pre-key-1`, `DEL {a}hash; HSET {a}hash only one`, `UNLINK {a}str; SETNX {a}str x`,
	`RENAME {a}str {a}new`, `RENAME {a}hash {a}str`, `RENAME {a}hash {c}str`, `RENAME {a}ttl {b}str`, `RENAME {b}list {a}list`,
	`RENAME {a}zset {n}zset`, `RENAME {n}str {a}hash`, `RENAME {a}missing {b}str`, `RENAME {a}stream {a}stream`, `RENAME {w}keys {w}creds`,
	`RENAMENX {a}str {c}str`, `RENAMENX {a}str {c}new`, `RENAMENX {a}set {n}new`, `RENAMENX {a}missing {c}str`, `RENAME {a}str {a}new; GET {a}str`,
	`COPY {a}str {a}new`, `COPY {a}httl {c}str`, `COPY {a}httl {c}str REPLACE`, `COPY {a}set {n}new`, `COPY {n}str {a}hash REPLACE`,
	`COPY {a}stream {b}stream REPLACE`, `COPY {a}str {a}str`, `COPY {a}missing {c}new`, `COPY {a}zset {a}zset DB 1`, `COPY {a}str {d}str DB 1`,
	`COPY {a}str {d}str DB 1 REPLACE`, `COPY {a}str {d}str DB x`, `MOVE {a}str 1`, `MOVE {a}missing 1`, `MOVE {a}hash 0`, `MOVE {a}hash 99`, `COPY {a}hash {a}new DB 99`,
	`MOVE {a}list 1; SELECT 1; LRANGE {a}list 0 -1`, `MOVE {n}str 1`, `SELECT 1; GET {d}str; HGETALL {d}hash; GET {a}str`,
	`SELECT 1; MOVE {d}hash 0; HGETALL {d}hash`, `SELECT 1; DEL {d}str; SELECT 0; EXISTS {d}str`, `SELECT 1; RENAME {d}list {a}list`,
	`OBJECT ENCODING {a}str`, `OBJECT ENCODING {a}num`, `OBJECT ENCODING {a}hash`, `OBJECT ENCODING {a}list`, `OBJECT ENCODING {a}set`,
	`OBJECT ENCODING {a}ints`, `OBJECT ENCODING {a}zset`, `OBJECT ENCODING {a}stream`, `OBJECT ENCODING {h}big`, `OBJECT ENCODING {h}wide`,
	`OBJECT ENCODING {a}missing`, `OBJECT REFCOUNT {a}hash`, `OBJECT IDLETIME {a}hash`, `OBJECT FREQ {a}hash`, `OBJECT BAD {a}hash`,
	`MEMORY USAGE {a}hash`, `MEMORY USAGE {a}missing`,
	`SORT {a}list ALPHA`, `SORT {a}ints DESC LIMIT 0 2`, `SORT {a}list`, `SORT {a}ints BY {b}w* GET {b}w* GET #`, `SORT {a}list ALPHA STORE {a}sorted`,
	`SORT {a}list ALPHA DESC STORE {c}str`, `SORT {a}zset ALPHA STORE {n}sorted`, `SORT {a}missing STORE {c}list`, `SORT_RO {a}set ALPHA`, `SORT {a}str`,
	`KEYS {a}*`, `KEYS {a}h?sh`, `KEYS {a}[sz]et`, `KEYS {w}*`, `KEYS {a}missing*`, `KEYS {n}*; KEYS {b}*`, `DBSIZE`,
	`DEL {a}str; KEYS {a}*; DBSIZE`, `EXPIRE {a}str -1; KEYS {a}*`, `SELECT 1; DBSIZE; KEYS {d}*`,
}

var hashCases = []string{
	`HGET {a}hash f1`, `HGET {a}hash missing`, `HGET {a}missing f1`, `HGET {a}str f1`, `HGET {a}httl f`, `HMGET {a}hash f1 missing f2`,
	`HMGET {w}keys pre-key-1 session-2 nothing`, `HMGET {a}missing f`, `HGETALL {a}hash`, `HGETALL {a}missing`, `HGETALL {w}keys`, `HKEYS {a}hash`,
	`HVALS {a}hash`, `HLEN {a}hash`, `HLEN {a}missing`, `HEXISTS {a}hash f2`, `HEXISTS {a}hash no`, `HSTRLEN {a}hash f2`, `HSCAN {a}hash 0`,
	`HSCAN {a}hash 0 MATCH f* COUNT 100`, `HRANDFIELD {a}one`, `HRANDFIELD {a}missing`,
	`HSET {a}hash f1 changed`, `HSET {a}hash new 1 f1 2`, `HSET {a}hash odd`, `HSET {a}missing f v`, `HSET {a}list f v`, `HSET {w}keys pre-key-3 z`,
	`HMSET {a}hash f1 x g y`, `HSETNX {a}hash f1 x`, `HSETNX {a}hash g x`, `HSET {a}httl g w; PEXPIRETIME {a}httl`,
	`HDEL {a}hash f1`, `HDEL {a}hash f1 f2 n bin`, `HDEL {a}hash missing`, `HDEL {a}str f`, `HDEL {a}one f; EXISTS {a}one`, `HDEL {w}keys pre-key-1 pre-key-2`,
	`HDEL {a}hash f1; HGET {a}hash f1; HGET {a}hash f2`, `HINCRBY {a}hash n 5`, `HINCRBY {a}hash f1 5`, `HINCRBYFLOAT {a}hash n 0.5`, `HINCRBY {a}missing n 1`,
	`HLEN {h}wide`, `HGET {h}wide f2999`, `HMGET {h}wide f0 f1500 no`, `HGETALL {h}wide`, `HVALS {h}wide`, `HSET {h}wide f7 new g 1`,
	`HDEL {h}wide f1 f2 f2999`, `HINCRBY {h}wide count 3`, `HEXISTS {h}wide f77`, `DEL {h}wide`, `EXPIREAT {h}wide 4102444805`,
	`RENAME {h}wide {a}wide; HLEN {a}wide`, `COPY {h}wide {n}wide`, `TYPE {h}wide`,
	`GET {h}big`, `STRLEN {h}big`, `GETRANGE {h}big 1000000 1000099`, `APPEND {h}big tail`, `SETRANGE {h}big 650000 middle`, `GETDEL {h}big`,
	`COPY {h}big {a}big`, `HSET {h}wide f1 x; STRLEN {h}big`,
}

var listCases = []string{
	`LRANGE {a}list 0 -1`, `LRANGE {a}list 1 2`, `LRANGE {a}missing 0 -1`, `LRANGE {a}str 0 -1`, `LRANGE {a}list x y`, `LLEN {a}list`, `LINDEX {a}list -1`,
	`LINDEX {a}list 99`, `LPOS {a}list b RANK 2`, `LPOS {a}list b COUNT 0`, `LPUSH {a}list x y`, `RPUSH {a}list "\x00"`, `LPUSHX {a}list x`,
	`RPUSHX {a}missing x`, `LPUSH {a}missing x`, `LPUSH {a}hash x`, `LPOP {a}list`, `RPOP {a}list 2`, `LPOP {a}list 99; EXISTS {a}list`, `LPOP {a}missing`,
	`LPOP {a}missing 2`, `LPOP {a}list -1`, `LSET {a}list 1 B`, `LSET {a}list 99 B`, `LSET {a}missing 0 B`, `LREM {a}list 0 b`, `LTRIM {a}list 1 2`,
	`LTRIM {a}list 5 1`, `LINSERT {a}list BEFORE c x`, `LINSERT {a}list AFTER zz x`, `LMOVE {a}list {c}list LEFT RIGHT`, `LMOVE {b}list {a}list RIGHT LEFT`,
	`LMOVE {a}list {c}str LEFT LEFT`, `LMOVE {a}list {a}list LEFT RIGHT`, `RPOPLPUSH {a}list {n}list`, `RPOPLPUSH {n}missing {a}list`,
	`LMPOP 3 {a}missing {c}list {b}list RIGHT COUNT 2`, `BLPOP {a}list 1`, `BRPOP {a}missing {c}list 1`, `BLPOP {a}missing {c}missing 0.01`,
	`BLMOVE {a}list {b}list LEFT LEFT 1`, `BRPOPLPUSH {a}list {c}list 1`, `BLMPOP 1 2 {a}missing {c}list LEFT`, `BLPOP {a}str 1`, `BLPOP {a}list x`,
	`RPUSH {a}lttl e; PEXPIRETIME {a}lttl`,
}

var setCases = []string{
	`SMEMBERS {a}set`, `SMEMBERS {a}ints`, `SMEMBERS {a}missing`, `SMEMBERS {a}str`, `SCARD {a}set`, `SISMEMBER {a}set x`, `SISMEMBER {a}set q`,
	`SMISMEMBER {a}set x q z`, `SSCAN {a}set 0 COUNT 100`, `SRANDMEMBER {a}set 10`, `SPOP {a}set 10; EXISTS {a}set`, `SPOP {a}missing`,
	`SADD {a}set x w`, `SADD {a}ints 7 x`, `SADD {a}missing x`, `SADD {a}zset x`, `SREM {a}set x nope`, `SREM {a}set x y z; TYPE {a}set`,
	`SMOVE {a}set {c}set x`, `SMOVE {a}set {b}new y`, `SMOVE {b}set {a}ints x`, `SMOVE {a}set {c}str x`, `SMOVE {a}set {c}set nope`,
	`SINTER {a}set {b}set`, `SUNION {a}set {b}ints {c}set {n}missing`, `SDIFF {a}set {c}ints`, `SINTER {a}set {c}hash`, `SINTERCARD 2 {a}set {c}set LIMIT 2`,
	`SINTERSTORE {a}dst {a}set {b}set`, `SUNIONSTORE {c}str {a}set {b}ints`, `SDIFFSTORE {n}dst {a}set {c}missing`, `SDIFFSTORE {a}str {a}set {a}set`,
	`SUNIONSTORE {b}dst {a}str {c}set`,
}

var zsetCases = []string{
	`ZSCORE {a}zset m3`, `ZSCORE {a}zset no`, `ZMSCORE {a}zset m1 no m2`, `ZCARD {a}zset`, `ZCARD {a}str`, `ZCOUNT {a}zset (1 +inf`, `ZRANGE {a}zset 0 -1`,
	`ZRANGE {a}zset 0 -1 WITHSCORES`, `ZRANGE {a}zset +inf 1 BYSCORE REV LIMIT 0 2`, `ZRANGE {a}lex [b (d BYLEX`, `ZREVRANGE {a}zset 0 0 WITHSCORES`,
	`ZRANGEBYSCORE {a}zset 1 2 WITHSCORES`, `ZREVRANGEBYLEX {a}lex + -`, `ZLEXCOUNT {a}lex - +`, `ZRANK {a}zset m2`, `ZREVRANK {a}zset no`, `ZSCAN {a}zset 0`,
	`ZRANDMEMBER {a}missing`, `ZADD {a}zset 9 m9`, `ZADD {a}zset XX CH 8 m1 8 no`, `ZADD {a}zset NX 5 m1 5 new`, `ZADD {a}zset GT CH 0 m1 7 m2`,
	`ZADD {a}zset INCR 2 m1`, `ZADD {a}zset nan m1`, `ZADD {a}hash 1 m`, `ZADD {a}missing 1 m`, `ZINCRBY {a}zset 1.5 m1`, `ZREM {a}zset m1 no`,
	`ZREM {a}zset m1 m2 m3; EXISTS {a}zset`, `ZREMRANGEBYRANK {a}zset 0 1`, `ZREMRANGEBYSCORE {a}zset 2 9`, `ZREMRANGEBYLEX {a}lex [b [c`, `ZPOPMIN {a}zset`,
	`ZPOPMAX {a}zset 2`, `BZPOPMIN {a}missing {a}zset 1`, `BZPOPMAX {c}zset 1`, `BZMPOP 1 2 {a}missing {c}zset MAX COUNT 2`, `ZMPOP 2 {b}missing {a}zset MIN`,
	`ZUNION 2 {a}zset {c}zset WITHSCORES`, `ZINTER 2 {a}zset {b}set`, `ZDIFF 2 {a}zset {c}missing`, `ZINTERCARD 2 {a}zset {b}zset`,
	`ZUNIONSTORE {c}str 2 {a}zset {b}zset WEIGHTS 2 3 AGGREGATE MAX`, `ZINTERSTORE {a}dst 2 {a}zset {c}zset`, `ZDIFFSTORE {b}dst 2 {a}zset {n}missing`,
	`ZRANGESTORE {n}dst {a}zset 0 1`, `ZRANGESTORE {a}zset {a}missing 0 -1`, `ZUNIONSTORE {a}dst 2 {a}zset {c}str`, `ZUNIONSTORE {a}dst 0 {a}zset`,
	`GEOPOS {a}geo Palermo No`, `GEODIST {a}geo Palermo Catania km`, `GEOHASH {a}geo Palermo`, `GEOADD {a}geo 2.35 48.85 Paris`,
	`GEOSEARCH {a}geo FROMLONLAT 15 37 BYRADIUS 200 km ASC WITHDIST`, `GEOSEARCHSTORE {c}dst {a}geo FROMMEMBER Palermo BYRADIUS 500 km`,
	`GEORADIUS {a}geo 15 37 200 km STORE {c}str`, `GEORADIUSBYMEMBER_RO {a}geo Palermo 10 km`,
}

var streamCases = []string{
	`XLEN {a}stream`, `XLEN {a}missing`, `XRANGE {a}stream - +`, `XREVRANGE {a}stream + - COUNT 1`, `XREAD COUNT 5 STREAMS {a}stream 0`,
	`XREAD STREAMS {a}stream {c}stream {b}stream 1-1 0 0`, `XREAD BLOCK 1000 STREAMS {a}stream 0`, `XREAD BLOCK 10 STREAMS {a}stream $`, `XREAD STREAMS {a}str 0`,
	`XADD {a}stream 9-1 k v`, `XADD {a}stream 1-1 k v`, `XADD {a}stream MAXLEN 1 9-1 k v`, `XADD {a}missing NOMKSTREAM 9-1 k v`, `XADD {a}new 9-1 k v`,
	`XADD {a}stream 9-1 k`, `XDEL {a}stream 1-1 5-5`, `XTRIM {a}stream MAXLEN 1`, `XSETID {a}stream 20-1`, `XINFO STREAM {a}stream`, `XINFO GROUPS {a}stream`,
	`XINFO STREAM {a}missing`, `XGROUP CREATE {a}stream g2 $`, `XGROUP CREATE {a}stream grp $`, `XGROUP CREATE {a}new g 0 MKSTREAM`,
	`XGROUP DESTROY {a}stream grp`, `XGROUP CREATECONSUMER {a}stream grp other`, `XREADGROUP GROUP grp me STREAMS {a}stream >`,
	`XREADGROUP GROUP grp me BLOCK 1000 COUNT 1 STREAMS {a}stream >`, `XREADGROUP GROUP grp reader STREAMS {a}stream 0`,
	`XREADGROUP GROUP nope me STREAMS {a}stream >`, `XPENDING {a}stream grp`, `XACK {a}stream grp 1-1 2-1`, `XCLAIM {a}stream grp me 0 1-1 JUSTID`,
	`XAUTOCLAIM {a}stream grp me 0 0 JUSTID`,
}

var scriptCases = []string{
	`EVAL "return {redis.call('GET',KEYS[1]),redis.call('HGET',KEYS[2],'f1')}" 2 {a}str {c}hash`,
	`EVAL "redis.call('HSET',KEYS[1],ARGV[1],ARGV[2]) return redis.call('HLEN',KEYS[1])" 2 {a}hash {n}lease g v`,
	`EVAL "return redis.call('DEL',unpack(KEYS))" 4 {a}str {b}hash {c}zset {n}str`,
	`EVAL "redis.call('RENAME',KEYS[1],KEYS[2]) return redis.call('EXISTS',KEYS[1])" 2 {a}hash {c}str`,
	`EVAL "redis.call('SET',KEYS[1],'half') return redis.call('INCR',KEYS[2])" 2 {a}str {a}hash`,
	`EVAL "redis.call('SET',KEYS[1],'half') error('boom')" 1 {a}str`, `EVAL "return redis.pcall('LPUSH',KEYS[1],'x')" 1 {a}str`,
	`EVAL "return redis.call('TTL',KEYS[1])" 1 {a}str`, `EVAL "return ARGV[1]" 0 {a}str`, `EVAL "syntax error" 1 {a}str`, `EVAL "return 1" 5 {a}str`,
	`EVAL_RO "return redis.call('LRANGE',KEYS[1],0,-1)" 1 {a}list`, `EVAL_RO "return redis.call('DEL',KEYS[1])" 1 {a}list`,
	`EVALSHA 4e6d8fc8bb01276962cce5371fa795a7763657ae 1 {a}str`, `EVALSHA ffffffffffffffffffffffffffffffffffffffff 1 {a}str`,
	`SCRIPT LOAD "return redis.call('GET',KEYS[1])"; EVALSHA 620cd258c2c9c88c9d10db67812ccf663d96bdc6 1 {a}str`,
	`FCALL ft_swap 2 {a}str {c}str`, `FCALL ft_wipe 2 {a}hash {b}hash`, `FCALL_RO ft_read 1 {a}str`, `FCALL ft_none 1 {a}str`,
}

var transactionCases = []string{
	`MULTI; GET {a}str; HGETALL {c}hash; SET {n}str x; LRANGE {b}list 0 -1; EXEC`, `MULTI; DEL {a}str; SET {a}str again; INCR {c}num; EXEC`,
	`MULTI; HDEL {a}hash f1; HSET {a}hash f1 back; HGETALL {a}hash; EXEC`, `MULTI; GET {a}missing; TTL {a}ttl; SMEMBERS {a}set; EXEC`,
	`MULTI; SET {a}str x; INCR {a}hash; APPEND {a}str y; EXEC`, `MULTI; SET {a}str x; DISCARD; GET {a}str`, `MULTI; DEL {a}str; DISCARD; GET {a}str`,
	`MULTI; GET {a}str; HSET {a}hash; EXEC; GET {a}str`, `MULTI; NOSUCH {a}str; EXEC`, `MULTI; MULTI; GET {a}str; EXEC`, `MULTI; WATCH {a}str; GET {a}str; EXEC`,
	`MULTI; RENAME {a}hash {c}str; EXISTS {a}hash; EXEC`, `MULTI; EXPIRE {a}str -1; EXISTS {a}str; EXEC`, `MULTI; BLPOP {a}missing 0; BLPOP {a}list 0; EXEC`,
	`MULTI; SELECT 1; GET {d}str; SET {d}str x; SELECT 0; GET {a}str; EXEC; GET {a}num`, `MULTI; SELECT 1; EXEC; GET {d}str`, `MULTI; EXEC`, `EXEC`, `DISCARD`,
	`MULTI; EVAL "return redis.call('GETDEL',KEYS[1])" 1 {a}str; GET {a}str; EXEC`, `MULTI; UNLINK {a}hash {c}hash; HSET {a}hash x y; EXEC`,
	`WATCH {a}str; GET {a}str; MULTI; SET {a}str x; EXEC`, `WATCH {a}str {c}hash; SET {a}str changed; MULTI; GET {a}str; EXEC; GET {a}str`,
	`WATCH {a}str; SET {a}str changed; UNWATCH; MULTI; GET {a}str; EXEC`, `WATCH {a}str; DEL {a}str; MULTI; SET {a}str again; EXEC`,
	`WATCH {a}missing; MULTI; SET {a}missing x; EXEC`, `UNWATCH`, `MULTI; GET {a}str; EXEC x; GET {a}str; EXEC`,
	`MULTI; GET {a}str; DISCARD x; EXEC`, `MULTI; WATCH; EXEC`, `MULTI; SELECT; EXEC`, `EXEC x`, `WATCH {a}str; SET {a}str x; EXEC x; MULTI; EXEC`,
}

var refusedCases = []string{
	`GET`, `GET {a}str {a}str`, `SET {a}str`, `HSET {a}hash`, `HSET {a}hash f`, `MGET`, `DEL`, `RENAME {a}str`, `LMOVE {a}list {c}list LEFT`, `EVAL`, `EVAL "return 1"`,
	`EVAL "return 1" x {a}str`, `NOSUCH {a}str`, `NOSUCH`, `OBJECT {a}str`, `OBJECT ENCODING`, `XREAD STREAMS {a}stream`, `ZUNIONSTORE {a}dst x {a}zset`,
	`LMPOP 0 {a}list LEFT`, `BITOP NOT {a}dst {a}str {b}str`, `SORT {a}list BAD`, `COPY {a}str`, `MOVE {a}str`, `MOVE {a}str x`, `SELECT x`, `SELECT 99`, `EXPIRE {a}str`,
	`GETEX {a}str EX`, `SINTERCARD 1 {a}set LIMIT`, `XADD {a}stream`, `XGROUP NOSUCH {a}stream`, `MULTI x`, `WATCH`, `SCAN x`, `SCAN 0 BAD`, `SCAN 0 COUNT 0`, `KEYS`, `TTL`,
	`PERSIST`, `APPEND {a}str`, `SETRANGE {a}str x y`, `HINCRBY {a}hash n x`, `MSET {a}str`, `ECHO`, `DBSIZE x`, `TYPE`, `HSCAN {a}hash x`, `XSETID {a}stream bad`,
}
