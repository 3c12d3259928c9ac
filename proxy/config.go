package proxy

import (
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
	Version    string   // shown in INFO and STATS
	Logger     hclog.Logger
	// ReadConfig reads the configuration anew for CREDPROXY RELOAD; nil: there is none to read.
	ReadConfig func() (Config, error)
}

// UpstreamConfig is the Redis behind the proxy. The credentials are those of the proxy's own work (sampling, saving,
// restoring); clients authenticate with theirs.
type UpstreamConfig struct {
	Address  string // "host:port" or "unix:///path"
	Username string
	Password string
}

// MemoryConfig is the memory policy.
type MemoryConfig struct {
	Budget        lru.Budget
	CheckInterval time.Duration // between two samples of used memory
	InactivityTTL time.Duration // sessions idle for longer leave Redis; 0: never
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
// reconfigure the shared Redis, move credentials elsewhere, load raw payloads or code, or would turn the connection into
// a replication stream.
func DefaultDeny() []string {
	return []string{
		"SHUTDOWN", "DEBUG", "CONFIG SET", "CONFIG REWRITE", "CONFIG RESETSTAT", "REPLICAOF", "SLAVEOF", "FAILOVER", "SYNC",
		"PSYNC", "REPLCONF", "MIGRATE", "RESTORE", "RESTORE-ASKING", "MODULE", "CLUSTER", "ACL SETUSER", "ACL DELUSER",
		"ACL LOAD", "ACL SAVE", "MONITOR", "SAVE", "BGREWRITEAOF", "PFDEBUG", "PFSELFTEST",
	}
}
