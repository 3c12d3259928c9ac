package proxy

import (
	"context"

	"credproxy/internal/session"
)

// Store is what the proxy needs of the durable side. Every method may be called concurrently, honours its context and
// reports trouble as an error; times are unix milliseconds.
type Store interface {
	// Load returns what is stored of a session, without keys that have expired at now. Keys that cannot be read come back
	// in an error that PoisonedKeys recognises, beside the good ones.
	Load(ctx context.Context, id session.ID, now int64) (session.Snapshot, error)
	// LoadParts is Load that hands what it reads to part as it arrives: whole strings and DUMPs, and pieces of hashes. The
	// snapshot has the rest: the last piece of each hash that came in pieces, and all that has not been handed over. What part is
	// given is valid during the call; part(nil) makes void what came before.
	LoadParts(ctx context.Context, id session.ID, now int64, part func([]session.Key) error) (session.Snapshot, error)
	// SaveApart commits one key that read hands over in pieces: bytes of a string (Value) or of a DUMP, or fields of a hash, lent to put.
	// read is called again if need be. LoadApart hands over such a value (Key.Apart): first to begin what it is, then its bytes.
	SaveApart(ctx context.Context, id session.ID, heat session.Heat, key string, read func(put func(session.Key) error) (session.KeyChange, error)) error
	LoadApart(ctx context.Context, id session.ID, key string, now int64, begin func(session.Key) error, part func([]byte) error) error
	// LoadStored returns what is stored of several sessions, in the order of ids and in one round trip; unlike Load it never asks
	// the application's own tables. Of keys beyond a limit it says only how large they are (Key.Apart).
	LoadStored(ctx context.Context, ids []session.ID, now int64) ([]session.Snapshot, error)
	// Save commits the changes in one transaction. Patches that do not fit what is stored come back in refused, unsaved.
	Save(ctx context.Context, changes []session.Change, now int64) (refused []session.Ref, err error)
	// Delete commits the removals in one transaction.
	Delete(ctx context.Context, removals []session.Removal) error
	// SaveElsewhere commits in one transaction that the application's own tables hold the sessions, each named once: of what is
	// stored of them only the names and types of the changes' keys, and the heat, stay.
	SaveElsewhere(ctx context.Context, changes []session.Change) error
	// Sources returns what the application's own tables hold of the sessions now, in the order of ids.
	Sources(ctx context.Context, ids []session.ID) ([][]session.Key, error)
	// DeleteDB removes everything stored for the databases, all of them when dbs is nil.
	DeleteDB(ctx context.Context, dbs []int) error
	// SwapDB exchanges what is stored for two databases.
	SwapDB(ctx context.Context, a, b int) error
	// Keys lists stored keys of a database that have not expired at now, after position after.
	Keys(ctx context.Context, db int, after int64, limit int, now int64) ([]session.Entry, error)
	// Extent counts what Keys lists of a database in all.
	Extent(ctx context.Context, db int, now int64) (session.Extent, error)
	// KeysOf lists the stored keys of a session that have not expired at now.
	KeysOf(ctx context.Context, id session.ID, now int64) ([]string, error)
	// HasSource reports whether sessions that are not stored are looked for in the application's own tables.
	HasSource() bool
	// Sessions lists stored sessions after position after.
	Sessions(ctx context.Context, after int64, limit int) ([]session.Summary, error)
	// Kept lists stored sessions that are not elsewhere, after position after, without counting their keys.
	Kept(ctx context.Context, after int64, limit int) ([]session.Summary, error)
	// Pins lists the sessions that are pinned, with the heat of those that are stored; Pin notes that one is, or is not any more.
	Pins(ctx context.Context) ([]session.Summary, error)
	Pin(ctx context.Context, id session.ID, on bool) error
	// Purge removes what expired long before now, at most limit keys; it returns how many.
	Purge(ctx context.Context, now int64, limit int) (int, error)
	// Ping reports whether the store can be reached.
	Ping(ctx context.Context) error
}
