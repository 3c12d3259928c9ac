// Package restore keeps sessions in Postgres: it loads a session in one round trip, saves what changed, deletes, and
// lists. It never touches Redis and decides nothing about memory.
//
// All tables lie in the Postgres schema "credproxy", which the package creates and migrates itself:
//
//	sessions   one row per session ever seen: its heat and its fence. The row stays when its last key goes, so that a
//	           session that was deleted is still known: whoever knows nothing of a session asks elsewhere, and would
//	           bring it back.
//	keys       one row per Redis key: type, form (clear, DUMP, signed DUMP, those in parts, or only a name), expiry, and the
//	           value unless it is a clear hash or in parts.
//	fields     one row per field of a clear hash, so that saving a changed field costs one row; or per part of a large
//	           value (apart.go).
//	pins       one row per session that the memory policy leaves alone.
//
// # Rules of the writers
//
//  1. Every transaction that changes a session first locks its row in sessions, and sessions are locked in the order of
//     (db, keyspace, id). So writers of one session follow each other, and no two writers deadlock. With the lock goes the
//     fence (fence.go): a write that comes after a newer one is turned away. Purge alone has none, as it removes only
//     what is worthless at any time.
//  2. Whatever depends on what is stored (may this patch be applied?) is read after that lock, by a statement of its
//     own: under READ COMMITTED only a later statement sees what the lock waited for.
//  3. The decision is made in Go (plan.go) and carried out by statements that name rows by number. Of a single key it is
//     first hoped to be the usual one (direct.go).
//
// Statements find rows through whole indexes, whatever Postgres knows of the tables when it plans them (joinSession).
//
// The rejected alternative to 3 is one statement that decides and writes: it saves a round trip, and its joins over
// arrays of unknown length get plans that are quadratic as soon as the planner guesses wrong.
package restore
