package proxy

import (
	"io/fs"
	"time"

	"github.com/hashicorp/go-hclog"

	"credproxy/keyspace"
	"credproxy/lru"
)

// SyncMode says when a write reaches Postgres.
type SyncMode string

const (
	// SyncBehind acknowledges a write when Redis has it and saves it within SyncInterval.
	SyncBehind SyncMode = "behind"
	// SyncThrough holds the reply of a write until Postgres has committed it.
	SyncThrough SyncMode = "through"
	// SyncOff leaves saving to the application, whose own tables the store's source reads. A session that they do not hold byte
	// for byte when it is evicted is saved like in SyncBehind.
	SyncOff SyncMode = "off"
)

// FlushPolicy says what FLUSHALL, FLUSHDB and SWAPDB do.
type FlushPolicy string

const (
	// FlushDeny refuses them.
	FlushDeny FlushPolicy = "deny"
	// FlushAll applies them to Redis and to Postgres.
	FlushAll FlushPolicy = "all"
)

// Config is everything the proxy needs to know, already validated by the caller.
type Config struct {
	Listen     string // "host:port", port 0 picks a free one, or "unix:///path"
	MaxClients int    // clients served at once; further ones get Redis's error
	Upstream   UpstreamConfig
	Keyspaces  []keyspace.Spec
	Memory     MemoryConfig
	Sync       SyncConfig
	Flush      FlushPolicy
	Deny       []string // commands refused to clients: "SHUTDOWN", "CONFIG SET"; case does not matter
	Exposure   Exposure
	SlowWait   time.Duration // commands that wait this long for their session go into the slow log; 0: none do
	Signed     bool          // the store gives back only payloads of DUMP that it has authenticated
	Version    string        // shown in INFO and STATS
	Logger     hclog.Logger
	Observe    Observer
	// ReadConfig reads the configuration anew for CREDPROXY RELOAD; nil: there is none to read.
	ReadConfig func() (Config, error)
}

// Observer is told of durations, for histograms. Each function may be nil, is called by many goroutines at once and must be quick.
type Observer struct {
	Restored func(time.Duration) // of every restore
	Answered func(time.Duration) // of one batch of commands in sampledBatches, from its arrival to its last reply
}

// UpstreamConfig is the Redis behind the proxy. The credentials are those of the proxy's own work (sampling, saving,
// restoring); clients authenticate with theirs.
type UpstreamConfig struct {
	Address  string // "host:port" or "unix:///path"
	Username string
	Password string
	TLS      UpstreamTLS
}

// UpstreamTLS is how Redis is reached when it speaks TLS. The files are followed: changed ones count from the next connection on.
type UpstreamTLS struct {
	On         bool
	CA         string // authorities that Redis's certificate may come from; "": the system's
	Cert, Key  string // the proxy's own certificate, for a Redis that wants one; "": none
	ServerName string // what Redis's certificate must be for; "": the host of the address
	Insecure   bool   // believe any certificate
}

// Exposure is who may reach the proxy, and how.
type Exposure struct {
	SocketMode fs.FileMode // permission bits of a Unix socket that is listened on; 0: 0660
	// IdleTimeout disconnects a client that has sent nothing for so long, but no subscriber, and none that waits for a reply; 0: never.
	IdleTimeout time.Duration
	// AuthTimeout is how long after its connection a client that has to authenticate may take for it; 0: for ever.
	AuthTimeout time.Duration
	// KeepAlive is after how much silence the kernel looks whether a client is still there, with three probes within as long again;
	// 0: never.
	KeepAlive time.Duration
	TLS       ListenTLS
	// Protected refuses clients from other machines while neither a password nor a certificate is asked of them.
	Protected bool
	// Passwords of the proxy's own users, by name; "default" is who gives a password only. nil: Redis judges every AUTH.
	Passwords map[string]string
	// Admins are the users who may run the CREDPROXY commands that change something; nil: everyone.
	Admins []string
}

// ListenTLS names the listener's PEM files. They are followed: changed ones count from the next handshake on.
type ListenTLS struct {
	Cert, Key string // "": plain connections
	ClientCA  string // authorities that clients' certificates must come from; "": clients need none
}

// MemoryConfig is the memory policy.
type MemoryConfig struct {
	Budget        lru.Budget
	MaxFromRedis  bool          // Budget.Max is Redis's own maxmemory, DefaultMax where it has none
	Policy        lru.Policy    // the order of eviction; "": lru.LRU
	CheckInterval time.Duration // between two samples of used memory
	InactivityTTL time.Duration // sessions idle for longer leave Redis; 0: never
	MinIdle       time.Duration // sessions used less than this ago are never evicted; 0: any may be
	// Keyspaces by name are what holds for their sessions instead of the two durations above. Those that are absent have no
	// budget of their own.
	Keyspaces map[string]KeyspaceMemory
}

// KeyspaceMemory is the memory policy of one keyspace.
type KeyspaceMemory struct {
	Max                    int64 // bytes, by estimate, that its resident sessions may take, with the percentages of the whole; 0: no budget of its own
	InactivityTTL, MinIdle time.Duration
}

// SyncConfig is how changes reach Postgres and how long commands wait for it.
type SyncConfig struct {
	Mode     SyncMode
	Interval time.Duration // longest a change waits to be saved in SyncBehind
	Wait     time.Duration // longest a command waits for Postgres before it gets TRYAGAIN
	// MaxUnsaved is how many changed keys may wait to be saved while Postgres is away; further writes wait. 0: 500,000.
	MaxUnsaved int64
}

// DefaultDeny is the list of commands that clients are refused unless the configuration says otherwise: those that stop or
// reconfigure the shared Redis or hold it up for everybody, move credentials elsewhere, load raw payloads or code, or would
// turn the connection into a replication stream.
func DefaultDeny() []string {
	return []string{
		"SHUTDOWN", "DEBUG", "CONFIG SET", "CONFIG REWRITE", "CONFIG RESETSTAT", "REPLICAOF", "SLAVEOF", "FAILOVER", "SYNC",
		"PSYNC", "REPLCONF", "MIGRATE", "RESTORE", "RESTORE-ASKING", "MODULE LOAD", "MODULE LOADEX", "MODULE UNLOAD", "CLUSTER", "ACL SETUSER", "ACL DELUSER",
		"ACL LOAD", "ACL SAVE", "MONITOR", "SAVE", "BGREWRITEAOF", "PFDEBUG", "PFSELFTEST", "CLIENT PAUSE", "FUNCTION RESTORE",
	}
}

// OwnUsersDeny is what is refused besides, unless the configuration says otherwise, where the proxy judges AUTH: clients are
// then Redis's user of the proxy, and these would show them its password or the hash of it.
func OwnUsersDeny() []string { return []string{"CONFIG GET", "ACL GETUSER", "ACL LIST"} }
