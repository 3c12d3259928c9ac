package config

// referenceBlocks documents every setting of every block, in the order of the file.
func referenceBlocks() []blockReference {
	return []blockReference{
		{"", "", "Who is listened to, and what is refused.", topReference()},
		{"tls", "tls { }", "TLS for clients, 1.2 or later. Without the block clients speak plain TCP. Changed files are used from the next handshake on.", []setting{
			{name: "cert", kind: aText, restart: true, text: "PEM file with the certificate and its chain; needed in this block"},
			{name: "key", kind: aText, restart: true, text: "PEM file with its key; needed in this block"},
			{name: "client_ca", kind: aText, restart: true, text: "PEM file with authorities: clients need a certificate of one of them"},
		}},
		{"auth", "auth { }", "Users of the proxy's own ([SECURITY.md](../SECURITY.md)). Without the block Redis judges every AUTH; with it the proxy does, and clients " +
			"are to Redis what the proxy is. Whether there is a block can only be changed by a restart; passwords and users by a reload.", passwords("`AUTH password`, the user `default`")},
		{"auth.user", `auth { user "name" { } }`, "A further user, any number of them. A user has one of the two.", passwords("`AUTH name password`")},
		{"upstream", "upstream { }", "The Redis that the proxy stands in front of. Its `maxmemory-policy` must be `noeviction`.", []setting{
			{name: "address", kind: aText, restart: true, text: "`host:port` or `unix:///path`"},
			{name: "username", kind: aText, restart: true, text: "ACL user of the proxy's own connections"},
			{name: "password", kind: aText, restart: true, text: "its password; clients authenticate with theirs"},
			{name: "password_file", kind: aText, restart: true, text: "file with the password, instead of `password`"},
		}},
		{"upstream.tls", "upstream { tls { } }", "TLS to Redis. The block may be empty.", []setting{
			{name: "ca", kind: aText, restart: true, text: "PEM file with authorities; without it the system's count"},
			{name: "cert", kind: aText, restart: true, text: "PEM file with the proxy's certificate, if Redis asks for one"},
			{name: "key", kind: aText, restart: true, text: "PEM file with its key"},
			{name: "server_name", kind: aText, restart: true, text: "the name that Redis's certificate must have, if it is not that of `address`"},
			{name: "insecure", kind: aBoolean, restart: true, text: "`true` believes any certificate: for trials only"},
		}},
		{"keyspace", `keyspace "name" { }`, "Which keys belong to which session. At least one block is needed; no key may belong to two. A reload takes new blocks and " +
			"adopts their sessions; to change the keys of a block, or to remove one, takes a restart. Sessions of a keyspace that is no longer named are out of reach, and not lost, until it is named again; the log says so.", keyspaceReference()},
		{"memory", "memory { }", "The budget and how it is kept ([operations.md](operations.md#sizing)).", memoryReference()},
		{"restore", "restore { }", "The durable side: Postgres.", restoreReference()},
		{"restore.source", "restore { source { } }", "Sessions that are in tables of yours already ([source.md](source.md)).", []setting{
			{name: "query", kind: aText, restart: true, text: "SQL that is given the session's id as `$1` and returns key, field (or null) and value; asked for sessions that credproxy does not know"},
		}},
		{"admin", "admin { }", "What is for people and monitoring.", []setting{
			{name: "listen", kind: aText, restart: true, text: "`host:port` of the HTTP side: dashboard, `/metrics`, `/healthz`, `/readyz`, profiles; `\"\"` for none"},
			{name: "users", kind: aList, text: "users who may run the `CREDPROXY` commands that change something; without it everyone who has authenticated"},
			{name: "token", kind: aText, restart: true, text: "lets the dashboard act, and be read from other machines; at least 16 characters"},
			{name: "token_file", kind: aText, restart: true, text: "file with the token, instead of `token`"},
		}},
		{"log", "log { }", "Logs go to stderr, one event a line ([operations.md](operations.md#logs)).", logReference()},
	}
}

func topReference() []setting {
	return []setting{
		{name: "listen", kind: aText, restart: true, text: "where clients connect: `host:port` or `unix:///path`"},
		{name: "listen_mode", kind: aMode, restart: true, text: "permissions of the Unix socket; only with one"},
		{name: "protected_mode", kind: aBoolean, text: "refuse clients of other machines while neither a password nor a certificate is asked for"},
		{name: "maxclients", kind: aNumber, restart: true, text: "lowered at start, with a warning, if the limit on open files is too low"},
		{name: "idle_timeout", kind: aDuration, restart: true, text: "disconnect clients that have sent nothing for so long, but no subscribers and none that wait for a reply; `0s` never"},
		{name: "auth_timeout", kind: aDuration, restart: true, text: "how long after connecting a client that needs a password may take to give it; `0s` for ever"},
		{name: "tcp_keepalive", kind: aDuration, restart: true, text: "silence after which the kernel looks whether a client is still there, with three probes within as long again; `0s` never"},
		{name: "shutdown_timeout", kind: aDuration, text: "to finish and to save everything at SIGTERM"},
		{name: "flush", kind: aWord, words: []string{"deny", "all"}, text: "FLUSHALL, FLUSHDB, SWAPDB: refused, or done in Redis and Postgres"},
		{name: "deny", kind: aList, text: "commands refused to clients, `\"NAME\"` or `\"NAME SUBCOMMAND\"`; `[]` allows all"},
	}
}

func passwords(what string) []setting {
	return []setting{
		{name: "password", kind: aText, text: what},
		{name: "password_file", kind: aText, text: "file with the password, instead of `password`"},
	}
}

func keyspaceReference() []setting {
	return []setting{
		{name: "keys", kind: aList, needed: true, restart: true, text: "patterns of whole key names: `{session}` captures the session's id, which may hold any bytes; `*` is any rest; `\\\\` escapes. `\"{session}\"` alone is a pattern, too"},
		{name: "db", kind: aNumber, restart: true, text: "only in this logical database; without it, in any"},
		{name: "max", kind: aSize, text: "a budget of its own, for the estimated bytes of its sessions in Redis: above `memory.threshold` percent of it, its own sessions go, down to `memory.target` percent; `memory.max` holds over all"},
		{name: "inactivity_ttl", kind: aDuration, text: "as in `memory`, for this keyspace; without it, that of `memory`"},
		{name: "min_idle", kind: aDuration, text: "as in `memory`, for this keyspace; without it, that of `memory`"},
	}
}

func memoryReference() []setting {
	return []setting{
		{name: "max", kind: aSize, text: "the budget: what Redis may use, `used_memory` less what Redis itself does not count for eviction. Without it, Redis's own `maxmemory` is the budget, also when that changes, and 1 GB if Redis has none"},
		{name: "threshold", kind: aNumber, text: "percent of `max` at which eviction starts"},
		{name: "target", kind: aNumber, text: "percent of `max` at which it stops; below `threshold`"},
		{name: "check_interval", kind: aDuration, text: "between two samples of Redis's memory; sooner when much was written, and at once when Redis refuses a write"},
		{name: "inactivity_ttl", kind: aDuration, text: "idle this long, a session leaves Redis, never Postgres; `0s` never"},
		{name: "min_idle", kind: aDuration, text: "used less than this ago, a session is never evicted; `0s`: any may be. If the sessions used within this time do not fit into `max`, Redis refuses writes when it is full"},
		{name: "policy", kind: aWord, words: policyNames(), text: "which sessions go first ([policies.md](policies.md))"},
	}
}

func restoreReference() []setting {
	return []setting{
		{name: "postgres", kind: aText, needed: true, restart: true, text: "connection string, a URL or `host=... user=...`. Tables are in the schema `credproxy`, which is made at the first start"},
		{name: "sync", kind: aWord, words: []string{SyncBehind, SyncThrough, SyncOff}, restart: true, text: "when a write is acknowledged: when Redis has it (saved within `sync_interval`); when Postgres has committed it; or when Redis has it while the application keeps its own tables, which `source` reads ([source.md](source.md))"},
		{name: "sync_interval", kind: aDuration, restart: true, text: "longest that a change waits to be saved, while Postgres keeps up"},
		{name: "wait", kind: aDuration, text: "longest that a command waits for Postgres, then it gets an error that begins with TRYAGAIN"},
		{name: "pooler", kind: aBoolean, restart: true, text: "`true` where a transaction pooler (PgBouncer) stands in front of Postgres: no prepared statements, and the lock is a row"},
		{name: "secret", kind: aText, restart: true, text: "at least 32 random bytes (`openssl rand -base64 32`); signs what goes back to Redis by RESTORE ([SECURITY.md](../SECURITY.md))"},
		{name: "secret_file", kind: aText, restart: true, text: "file with the secret, instead of `secret`"},
		{name: "previous_secrets", kind: aList, restart: true, text: "secrets whose signatures are still taken"},
		{name: "previous_secret_files", kind: aList, restart: true, text: "files with such secrets"},
		{name: "secret_accept_unsigned", kind: aBoolean, restart: true, text: "`true` takes payloads from before the secret, until `credproxy sign` has signed them"},
	}
}

func logReference() []setting {
	return []setting{
		{name: "level", kind: aWord, words: []string{"trace", "debug", "info", "warn", "error", "off"}, text: "the least important events that are logged"},
		{name: "format", kind: aWord, words: []string{"text", "json"}, restart: true, text: "lines for people, or JSON objects for programs"},
		{name: "slow", kind: aDuration, text: "commands that wait this long for their session are in the slow log (`CREDPROXY SLOWLOG`); `0s` for none"},
	}
}
