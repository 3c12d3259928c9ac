// Package config reads proxy.hcl: strictly, into plain values that no library has to know HCL for. Whatever is wrong
// with the file is reported at once, a line each, with file, line and what to do about it.
package config

import (
	"io/fs"
	"time"

	"credproxy/keyspace"
	"credproxy/lru"
	"credproxy/proxy"
)

// Sync modes of the restore block.
const (
	SyncBehind  = "behind"  // acknowledged when Redis has it, saved within the sync interval
	SyncThrough = "through" // acknowledged when Postgres has it
	SyncOff     = "off"     // the application keeps its own tables, which Source reads; needs one
)

// Config is the effective configuration: what the file says, and defaults for the rest.
type Config struct {
	Path     string   // the file that was read
	Warnings Problems // what is allowed, but will not do what it seems to

	Listen          string      // host:port or unix:///path
	ListenMode      fs.FileMode // permissions of the Unix socket
	ProtectedMode   bool        // refuse other machines while nothing is asked of clients
	MaxClients      int
	IdleTimeout     time.Duration // clients that have sent nothing for so long are disconnected; 0: never
	AuthTimeout     time.Duration // how long a client that needs a password may take; 0: for ever
	TCPKeepAlive    time.Duration // silence after which the kernel looks whether a client is still there; 0: never
	ShutdownTimeout time.Duration
	Flush           string   // FLUSHALL, FLUSHDB, SWAPDB: "deny" or "all"
	Deny            []string // commands refused to clients, upper case, "CONFIG SET"

	Upstream  Upstream
	Keyspaces []keyspace.Spec
	Memory    Memory
	Restore   Restore
	Admin     Admin
	Log       Log
	TLS       *TLS  // nil: plain TCP
	Auth      *Auth // nil: Redis judges every AUTH
}

// Upstream is the Redis that the proxy stands in front of.
type Upstream struct {
	Address  string // host:port or unix:///path
	Username string
	Password string

	PasswordFile string // where Password comes from; "": not from a file
	TLS          proxy.UpstreamTLS
}

// Auth is who may use the proxy.
type Auth struct {
	Users []User // in the order of the file
}

// User is one of them. "default" is who gives a password only.
type User struct {
	Name         string
	Password     string
	PasswordFile string // where Password comes from; "": not from a file
}

// Memory is the budget and how it is kept.
type Memory struct {
	Max           int64         // bytes
	MaxUnset      bool          // Max is what holds if Redis has no maxmemory of its own: that comes first
	Threshold     int           // percent of Max at which eviction starts
	Target        int           // percent of Max at which it stops
	CheckInterval time.Duration // between two samples
	InactivityTTL time.Duration // idle this long, a session leaves Redis; 0: never
	MinIdle       time.Duration // used less than this ago, a session is never evicted; 0: any may be
	Policy        string        // the order of eviction, one of lru.Policies

	Keyspaces map[string]KeyspaceMemory // by name, those that say anything
}

// Restore is the durable side.
type Restore struct {
	Postgres     string // DSN; holds a password, so it is never printed as it is
	Sync         string // SyncBehind, SyncThrough or SyncOff
	SyncInterval time.Duration
	Wait         time.Duration // longest a command waits for Postgres
	Pooler       bool          // a transaction pooler (PgBouncer) stands in front of Postgres
	Source       string        // the operator's own query; "": none
	Signing      Signing
}

// Signing says with which secrets saved payloads are authenticated.
type Signing struct {
	Secret         string   // "": they are not
	SecretFile     string   // where Secret comes from; "": not from a file
	Previous       []string // secrets whose signatures are still taken, those from files last
	PreviousFiles  []string // where some of them come from
	AcceptUnsigned bool     // payloads from before there was a secret are taken
}

// Admin is what is for people and monitoring.
type Admin struct {
	Listen string   // of the HTTP side, host:port; "": none
	Users  []string // who may run the CREDPROXY commands that change something; nil: everyone
	Token  string   // lets the dashboard act, and be read from other machines; "": neither

	TokenFile string // where Token comes from; "": not from a file
}

// Log says what is logged and in which form.
type Log struct {
	Level  string        // trace, debug, info, warn, error or off
	Format string        // text or json
	Slow   time.Duration // commands that wait this long for their session are in the slow log; 0: none are
}

// TLS names PEM files for the listener.
type TLS struct {
	Cert     string
	Key      string
	ClientCA string // "": clients need no certificate
}

// Default returns the configuration of a file that sets nothing. It is not valid by itself: a keyspace and
// restore.postgres have no default.
func Default() Config {
	return Config{
		Listen:          "127.0.0.1:6380",
		ListenMode:      0o660,
		ProtectedMode:   true,
		MaxClients:      10000,
		AuthTimeout:     10 * time.Second,
		TCPKeepAlive:    300 * time.Second,
		ShutdownTimeout: 30 * time.Second,
		Flush:           "deny",
		Deny:            proxy.DefaultDeny(),
		Upstream:        Upstream{Address: "127.0.0.1:6379"},
		Memory: Memory{
			Max: proxy.DefaultMax, MaxUnset: true, Threshold: 80, Target: 70,
			CheckInterval: 5 * time.Minute, InactivityTTL: 168 * time.Hour,
			Policy: string(lru.LRU),
		},
		Restore: Restore{Sync: SyncBehind, SyncInterval: 200 * time.Millisecond, Wait: 30 * time.Second},
		Admin:   Admin{Listen: "127.0.0.1:9180"},
		Log:     Log{Level: "info", Format: "text", Slow: 100 * time.Millisecond},
	}
}
