// Package proxy is the front of credproxy: clients, commands, the gate in front of every session, and the work that moves
// sessions between Redis and Postgres. It is the only package that changes Redis.
//
// A command's way: redcon hands a batch to client.exec; the command table says which keys it names; admit passes the gate of
// each key's session (gate.go); the group of admitted commands goes upstream in one write (group.go); the replies come back
// raw, the sessions are left, and what was written is remembered as dirty (dirty.go). Commands that need more have a
// handler (handlers.go). Clients whose commands need nothing but that are served in lanes (lane.go, express.go): the same steps
// for many clients in one goroutine; what would have to wait is left to the client's own.
//
// Who may connect, who may do what, and how Redis is reached: listen.go, auth.go, rules.go.
//
// Behind it: the saver brings dirty keys to Postgres (save.go), the remover deletes there first (remove.go), the evictor takes
// sessions out (evict.go) when the policy says so (policy.go), the loader brings them back (load.go, fill.go). What must
// outlive the process is kept in Redis beside the data (meta.go) and read at the start (recover.go, adopt.go). The rules that
// make the promises hold are numbered at the top of these files: G gate, S save, D delete, E evict, R restore, M metadata,
// X lanes (lane.go), O sync = "off" (off.go), L deletions of what is outside Redis (unlink.go), T late writes (late.go).
//
// # Lock order
//
// A goroutine that holds a lock takes only locks that stand further down. No lock but the first three is held over I/O.
//
//	Server.life         whether the proxy's tasks run: Serve, Shutdown, and a reload with new keyspaces
//	policy.enforcer     one enforcement of the memory policy at a time
//	Server.flushing     for writing by FLUSHALL and its like, for reading by saves, evictions and restores
//	lru.Table.searching one search for victims at a time
//	lru.Shard           a shard of the session table: gate and detail of its sessions
//	saveQueue.mu        the saver's queue
//	recording.mu        events of a trace that wait to be read; a leaf
//	sessions.mu, policy.mu, policy.passMu, meta.mu, alarms.mu, stats.mu, slowLog.mu, thrash.mu, stopwatch.mu, clients.mu, client.mu, learned.mu  leaves
//	client.wmu          held while bytes are written to that one client
//	upstream.Conn.mu    what is queued on a connection to Redis; then poll.Poller.mu, a leaf
//	resp.outbox.mu      what a client has still to get; a leaf
//
// Two shards are never locked at once.
package proxy
