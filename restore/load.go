package restore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"credproxy/internal/session"
)

// Forms in which a key's value is stored. The numbers are in the tables and never change their meaning.
const (
	formClear  = 1
	formDump   = 2 // the payload of DUMP, which carries its own version and checksum
	formStub   = 3 // only the name and the type: the operator's own tables hold the value (elsewhere.go)
	formSigned = 4 // a signature, and behind it the payload of DUMP (sign.go)

	// In parts, which are rows of fields (apart.go). The key's own row has the length, 8 bytes, behind the signature if there is one.
	formParts       = 5 // a string
	formDumpParts   = 6 // the payload of DUMP
	formSignedParts = 7 // the same, signed
)

// loadSQL returns everything of the sessions in one result, so from one point in time: of each session a row of its own (n
// is its place in the request, the others have none), then one for each key, then one for each field (which have no type).
// Postgres runs the parts of an Append in order. The session comes first in every plan, as the rest is lateral to it;
// OFFSET 0 does for the fields what LIMIT does in joinSession: with one large hash in the tables, all fields would else be
// read for each session, to find that they are not its own.
const (
	loadSQL = `
SELECT r.* FROM unnest($1::int[], $2::text[], $3::bytea[]) WITH ORDINALITY AS u (db, keyspace, id, n)
` + joinSession + loadRows

	// loadOneSQL is loadSQL for one session.
	loadOneSQL = `
SELECT r.* FROM (SELECT 1::bigint AS n) u
JOIN LATERAL (SELECT x.* FROM credproxy.sessions x WHERE x.db = $1 AND x.keyspace = $2 AND x.id = $3 LIMIT 1) s ON true` + loadRows

	loadRows = `
CROSS JOIN LATERAL (
	SELECT NULL::bigint, NULL::bytea, NULL::bytea, u.n, NULL::smallint, NULL::smallint, NULL::bigint,
		s.last_access, s.hits, s.bytes, s.elsewhere
	UNION ALL
	SELECT k.kid, coalesce(k.full_key, k.key), k.value, NULL, k.type, k.form, k.expire_at, NULL, NULL, NULL, NULL
	FROM credproxy.keys k WHERE k.sid = s.sid AND (k.expire_at IS NULL OR k.expire_at > $4)
	UNION ALL
	SELECT f.kid, f.field, f.value, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
	FROM (SELECT x.kid FROM credproxy.keys x WHERE x.sid = s.sid AND x.type = 2 AND x.form = 1
		AND (x.expire_at IS NULL OR x.expire_at > $4) OFFSET 0) k
	JOIN LATERAL (SELECT x.kid, x.field, x.value FROM credproxy.fields x WHERE x.kid = k.kid OFFSET 0) f ON true
) r WHERE s.known`
)

// Load returns what is stored of a session, without the keys that have expired at now (unix milliseconds), in one round
// trip also when nothing is. Stored keys that cannot be understood are left out and named by a *PoisonError, which is
// returned together with the rest.
//
// Of a session that is not stored, or is Elsewhere, it returns what the source has, if there is one: another round trip, and
// FromSource when that had something. What comes from there is not stored yet. The first Save of the session ends the source's
// say for all of its keys, so it must hold all of them.
func (s *Store) Load(ctx context.Context, id session.ID, now int64) (session.Snapshot, error) {
	snapshots, err := s.load(ctx, []session.ID{id}, now, 0, nil)
	return s.loaded(ctx, id, snapshots, err)
}

// LoadMany loads several sessions in one round trip, from one point in time; the result has their order. Like Load, it may
// return a *PoisonError together with the rest, and asks the source for those that are not stored. An id that is listed
// twice gets the same snapshot twice, sharing memory.
func (s *Store) LoadMany(ctx context.Context, ids []session.ID, now int64) ([]session.Snapshot, error) {
	return s.loadMany(ctx, ids, now, 0, s.fromSource)
}

const (
	// storedMost is how many bytes of values LoadStored hands over.
	storedMost = 32 << 20
	// apartHash and apartFields are from how many bytes on, of fields that large, it does not hand over a hash: that one is saved field by
	// field as it is, and need not be compared before.
	apartHash   = 4 << 20
	apartFields = 4 << 10
)

// LoadStored is LoadMany without the source, for callers that compare with what is stored here. Of large hashes and of keys beyond storedMost
// it says how large they are (Apart), not what they hold.
func (s *Store) LoadStored(ctx context.Context, ids []session.ID, now int64) ([]session.Snapshot, error) {
	return s.loadMany(ctx, ids, now, storedMost, nil)
}

func (s *Store) loadMany(ctx context.Context, ids []session.ID, now, most int64,
	more func(context.Context, []session.ID, []session.Snapshot) error) ([]session.Snapshot, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	once := make([]session.ID, 0, len(ids))
	at := make(map[session.ID]int, len(ids))
	for _, id := range ids {
		if _, again := at[id]; !again {
			at[id] = len(once)
			once = append(once, id)
		}
	}
	snapshots, err := s.load(ctx, once, now, most, nil)
	if snapshots != nil && more != nil {
		if failed := more(ctx, once, snapshots); failed != nil {
			snapshots, err = nil, failed
		}
	}
	if snapshots == nil {
		return nil, fmt.Errorf("load %d sessions from %q on: %w", len(ids), ids[0], err)
	}
	out := make([]session.Snapshot, len(ids))
	for i, id := range ids {
		out[i] = snapshots[at[id]]
	}
	return out, err
}

// fromSource fills the snapshots of sessions that are not stored.
func (s *Store) fromSource(ctx context.Context, ids []session.ID, snapshots []session.Snapshot) error {
	var missing []session.ID
	var at []int
	for i, id := range ids {
		if snapshots[i].Elsewhere && s.source == nil {
			return fmt.Errorf("session %q: %w", id, errNoSource)
		}
		if !snapshots[i].Found {
			missing, at = append(missing, id), append(at, i)
		}
	}
	if s.source == nil || len(missing) == 0 {
		return nil
	}
	found, err := s.Sources(ctx, missing)
	if err != nil {
		return err
	}
	for i, keys := range found {
		snapshots[at[i]].Keys, snapshots[at[i]].FromSource = keys, len(keys) > 0
	}
	return nil
}

// load returns nil snapshots exactly when it failed. The ids differ. Values beyond most bytes are left out (0: none). p is nil unless one
// session is read in parts.
func (s *Store) load(ctx context.Context, ids []session.ID, now, most int64, p *parts) ([]session.Snapshot, error) {
	sql, args := loadQuery(ids, now)
	var l *loading
	err := s.retry(ctx, func() error {
		l = newLoading(ids, s.signer)
		l.parts, l.most = p, most
		if err := p.restart(); err != nil {
			return err
		}
		return s.read(ctx, sql, args, l.row)
	})
	if err != nil {
		return nil, err
	}
	return l.finish()
}

func loadQuery(ids []session.ID, now int64) (sql string, args []any) {
	if len(ids) == 1 {
		return loadOneSQL, []any{int32(ids[0].DB), ids[0].Keyspace, indexed(ids[0].Name), now}
	}
	var columns idColumns
	for _, id := range ids {
		columns.add(id)
	}
	return loadSQL, []any{columns.db, columns.keyspace, columns.id, now}
}

// loading builds snapshots from the rows of loadSQL.
type loading struct {
	ids       []session.ID
	snapshots []session.Snapshot
	session   int // whose rows these are: index into snapshots, once begun
	begun     bool
	keys      map[int64]place // hashes in the clear
	lastKID   int64           // fields come key by key: remember the last one
	last      *session.Key
	bytes     arena
	parts     *parts // nil: all goes into the snapshots
	signer    *signer
	poison    []PoisonedKey
	most      int64 // bytes of values that are handed over, 0: all
	used      int64 // of them
	hash      int64 // bytes of the last hash
}

// fits counts bytes of a value; false: they are left out.
func (l *loading) fits(n int) bool {
	if l.most > 0 && l.used+int64(n) > l.most {
		return false
	}
	l.used += int64(n)
	return true
}

// place says where a key is being built: index into snapshots, and into Keys there. Not a pointer, as Keys grows.
type place struct{ snapshot, key int }

func newLoading(ids []session.ID, by *signer) *loading {
	return &loading{ids: ids, snapshots: make([]session.Snapshot, len(ids)), signer: by}
}

var errBadRow = errors.New("unexpected row")

func (l *loading) row(rows pgx.Rows) error {
	v := rows.RawValues()
	switch {
	case len(v) != 11:
		return errBadRow
	case v[3] != nil:
		return l.sessionRow(v)
	case v[4] != nil:
		return l.keyRow(v)
	default:
		return l.fieldRow(v)
	}
}

// sessionRow begins a session; the rows up to the next one are its own.
func (l *loading) sessionRow(v [][]byte) error {
	n := int(int64At(v[3])) - 1
	if n < 0 || n >= len(l.ids) || len(v[10]) != 1 {
		return errBadRow
	}
	snapshot := &l.snapshots[n]
	snapshot.Elsewhere = v[10][0] == 1
	snapshot.Found = !snapshot.Elsewhere
	snapshot.Heat = session.Heat{LastAccess: int64At(v[7]), Hits: uint64(int64At(v[8])), Bytes: int64At(v[9])}
	l.session, l.begun = n, true
	return nil
}

func (l *loading) keyRow(v [][]byte) error {
	if !l.begun {
		return errBadRow
	}
	n := l.session
	snapshot := &l.snapshots[n]
	key := session.Key{Name: string(v[1]), Type: session.Type(int64At(v[4])), ExpireAt: int64At(v[6])}
	form := int16(int64At(v[5]))
	if form == formStub && snapshot.Elsewhere {
		snapshot.Stubs = append(snapshot.Stubs, session.Key{Name: key.Name, Type: key.Type})
		return nil
	}
	if !understood(key.Type, int64At(v[4]), form, v[2] != nil) {
		return l.poisoned(key.Name, whyForm)
	}
	if inParts(form) {
		if key.Apart = apartLength(form, v[2]); key.Apart < 0 {
			return l.poisoned(key.Name, whyForm)
		}
		if key.Apart == 0 { // it became empty while it was read
			key.Value = []byte{}
		}
		snapshot.Keys = append(snapshot.Keys, key)
		return nil
	}
	if !l.fits(len(v[2])) {
		key.Apart = int64(len(v[2]))
		snapshot.Keys = append(snapshot.Keys, key)
		return nil
	}
	if form != formClear {
		payload, why := l.signer.open(payloadPlace{l.ids[n], key.Name, key.Type, key.ExpireAt, false}, form, v[2])
		if why != "" {
			return l.poisoned(key.Name, why)
		}
		key.Dump = l.bytes.copy(payload)
	} else if v[2] != nil {
		key.Value = l.bytes.copy(v[2])
	}
	if key.Type != session.Hash || form != formClear {
		return l.addKey(snapshot, key)
	}
	if l.keys == nil {
		l.keys = make(map[int64]place)
	}
	l.keys[int64At(v[0])] = place{snapshot: n, key: len(snapshot.Keys)}
	snapshot.Keys = append(snapshot.Keys, key)
	return nil
}

// poisoned leaves a key of the session out.
func (l *loading) poisoned(key, why string) error {
	l.poison = append(l.poison, PoisonedKey{session.Ref{Session: l.ids[l.session], Key: key}, why})
	return nil
}

// understood reports whether a stored key makes sense: a known type in a known form, with a value where one belongs.
func understood(t session.Type, stored int64, form int16, hasValue bool) bool {
	if stored < int64(session.String) || stored > int64(session.Module) {
		return false
	}
	switch form {
	case formClear:
		return t == session.String && hasValue || t == session.Hash && !hasValue
	case formDump, formSigned:
		return hasValue
	case formParts:
		return t == session.String && hasValue
	case formDumpParts, formSignedParts:
		return t != session.String && hasValue
	default:
		return false
	}
}

func (l *loading) fieldRow(v [][]byte) error {
	if kid := int64At(v[0]); kid != l.lastKID || l.last == nil {
		at, ok := l.keys[kid]
		if !ok {
			return nil // of a key that is not understood, and named as such
		}
		l.hash, l.lastKID, l.last = 0, kid, &l.snapshots[at.snapshot].Keys[at.key]
		l.nextHash()
	}
	if l.last.Apart > 0 || !l.fits(len(v[1])+len(v[2])) {
		l.last.Apart += int64(len(v[1]) + len(v[2]))
		l.last.Fields = nil
		return nil
	}
	f := session.Field{Name: string(v[1]), Value: l.bytes.copy(v[2])}
	l.last.Fields = append(l.last.Fields, f)
	l.hash += int64(len(f.Name) + len(f.Value))
	if l.most > 0 && l.hash > apartHash && l.hash/int64(len(l.last.Fields)) >= apartFields {
		l.last.Apart, l.last.Fields, l.used = l.hash, nil, l.used-l.hash
	}
	return l.addedField(&f)
}

func (l *loading) finish() ([]session.Snapshot, error) {
	if l.parts != nil && len(l.parts.keys) > 0 {
		l.snapshots[0].Keys = append(l.snapshots[0].Keys, l.parts.keys...)
	}
	if len(l.poison) > 0 {
		return l.snapshots, &PoisonError{Keys: l.poison}
	}
	return l.snapshots, nil
}

// int64At reads a binary integer of any width; null is 0.
func int64At(v []byte) int64 {
	switch len(v) {
	case 2:
		return int64(int16(binary.BigEndian.Uint16(v)))
	case 4:
		return int64(int32(binary.BigEndian.Uint32(v)))
	case 8:
		return int64(binary.BigEndian.Uint64(v))
	default:
		return 0
	}
}

// arena copies many small values into few blocks. A value keeps its whole block in memory, which suits values that are
// dropped together.
type arena struct {
	free   []byte   // of the last block
	blocks [][]byte // all of them
	used   int      // how many hold something
}

const arenaBlock = 64 << 10

// copy returns a copy of b that is never nil and has no room to grow into its neighbour.
func (a *arena) copy(b []byte) []byte {
	if len(b) == 0 || len(b) > arenaBlock/4 {
		return append(make([]byte, 0, len(b)), b...)
	}
	if len(b) > len(a.free) {
		if a.used == len(a.blocks) {
			a.blocks = append(a.blocks, make([]byte, arenaBlock))
		}
		a.free = a.blocks[a.used]
		a.used++
	}
	out := a.free[:len(b):len(b)]
	a.free = a.free[len(b):]
	copy(out, b)
	return out
}

// reset makes room for new values in the place of all that were copied; if some of those are kept, elsewhere.
func (a *arena) reset(kept bool) {
	if kept {
		*a = arena{}
	}
	a.free, a.used = nil, 0
}
