package restore

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"credproxy/internal/session"
)

// Payloads that are stored already are signed anew when the secret has changed, when there was none, or when they have moved. They
// stay where they are: Postgres tells their SHA-256 and puts the signature in front.

// resignPage is how many payloads are signed in one step, with their sessions locked.
const resignPage = 100

const (
	// The beginning of a signature tells whether it is the current secret's.
	unsignedSQL = `
SELECT k.kid, k.sid FROM credproxy.keys k
WHERE k.kid > $1 AND (k.form IN (2, 6) OR k.form IN (4, 7) AND substr(k.value, 1, length($3::bytea)) <> $3) ORDER BY k.kid LIMIT $2`

	signedOfSQL = `
SELECT k.kid, k.sid FROM credproxy.keys k JOIN credproxy.sessions s ON s.sid = k.sid
WHERE k.kid > $1 AND k.form IN (4, 7) AND s.db = ANY ($3::int[]) ORDER BY k.kid LIMIT $2`

	payloadsSQL = `
SELECT k.kid, s.db, s.keyspace, coalesce(s.full_id, s.id), coalesce(k.full_key, k.key), k.type, k.form, k.expire_at,
	substr(k.value, 1, $2::int), CASE k.form WHEN 4 THEN sha256(substr(k.value, $2::int + 1)) WHEN 2 THEN sha256(k.value)
		ELSE sha256((SELECT string_agg(sha256(f.value), ''::bytea ORDER BY f.field) FROM credproxy.fields f WHERE f.kid = k.kid)) END
FROM credproxy.keys k JOIN credproxy.sessions s ON s.sid = k.sid
WHERE k.kid = ANY ($1::bigint[]) AND k.form IN (2, 4, 6, 7) AND k.value IS NOT NULL`

	signaturesSQL = `
UPDATE credproxy.keys k SET form = CASE WHEN k.form IN (2, 4) THEN 4 ELSE 7 END,
	value = u.signature || CASE WHEN k.form IN (4, 7) THEN substr(k.value, $3::int + 1) ELSE k.value END
FROM unnest($1::bigint[], $2::bytea[]) AS u (kid, signature) WHERE k.kid = u.kid`

	countUnsignedSQL = `SELECT count(*) FROM credproxy.keys WHERE form IN (2, 6)`
)

// Sign signs every stored payload that has no signature of the current secret, and returns how many. Those without any are
// trusted as they are. What was signed with a secret that is not known, or is forged, stays so and is counted in refused; the
// log names it. It may run beside a proxy that has the same secrets. After an error it can be repeated.
func (s *Store) Sign(ctx context.Context) (signed, refused int, err error) {
	if s.signer == nil {
		return 0, 0, errors.New("sign payloads: there is no secret: set restore.secret")
	}
	for after := int64(0); ; {
		found, err := s.payloadRows(ctx, unsignedSQL, after, s.signer.head())
		if err != nil {
			return signed, refused, fmt.Errorf("look for payloads to sign: %w", err)
		}
		if len(found.kids) == 0 {
			return signed, refused, nil
		}
		after = found.kids[len(found.kids)-1]
		done, bad, err := s.signLocked(ctx, found)
		if err != nil {
			return signed, refused, fmt.Errorf("sign payloads: %w", err)
		}
		s.logRefused(bad)
		signed, refused = signed+done, refused+len(bad)
	}
}

// warnUnsigned says how many payloads are taken without a signature: a state that is meant to end.
func (s *Store) warnUnsigned(ctx context.Context) error {
	s.queries.Add(1)
	var n int64
	if err := s.pool.QueryRow(ctx, countUnsignedSQL).Scan(&n); err != nil {
		return fmt.Errorf("count unsigned payloads: %w", err)
	}
	s.log.Warn("stored payloads without a signature are taken: run `credproxy sign`, then remove restore.secret_accept_unsigned", "unsigned", n)
	return nil
}

// rowIDs names rows of keys and their sessions.
type rowIDs struct{ kids, sids []int64 }

func (s *Store) payloadRows(ctx context.Context, sql string, after int64, arg any) (found rowIDs, err error) {
	err = s.list(ctx, sql, []any{after, int64(resignPage), arg}, func() { found = rowIDs{} }, found.row)
	return found, err
}

// all takes every row.
func (r *rowIDs) all(rows pgx.Rows) error {
	for rows.Next() {
		if err := r.row(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (r *rowIDs) row(rows pgx.Rows) error {
	v := rows.RawValues()
	r.kids, r.sids = append(r.kids, int64At(v[0])), append(r.sids, int64At(v[1]))
	return nil
}

// signLocked signs payloads whose sessions it locks. It has no fence, as it changes nothing that a session holds.
func (s *Store) signLocked(ctx context.Context, found rowIDs) (done int, bad []PoisonedKey, err error) {
	err = s.transact(ctx, func(t *transaction) error {
		b := begin()
		b.Queue(lockSessionsSQL, found.sids)
		r := resigning{by: s.signer, was: func(db int) int { return db }}
		if err := t.resign(ctx, b, found.kids, &r); err != nil {
			return err
		}
		b = &pgx.Batch{}
		r.queue(b)
		queueCommit(b)
		done, bad = len(r.kids), r.bad
		return t.send(ctx, b)
	})
	return done, bad, err
}

// signMoved signs the payloads of two databases that have just been exchanged, within the transaction that did it.
func (t *transaction) signMoved(ctx context.Context, a, b int) error {
	swapped := func(db int) int { return a + b - db }
	for after := int64(0); ; {
		var found rowIDs
		batch := &pgx.Batch{}
		batch.Queue(signedOfSQL, after, int64(resignPage), int32s([]int{a, b})).Query(found.all)
		if err := t.send(ctx, batch); err != nil || len(found.kids) == 0 {
			return err
		}
		after = found.kids[len(found.kids)-1]
		r := resigning{by: t.store.signer, was: swapped}
		if err := t.resign(ctx, &pgx.Batch{}, found.kids, &r); err != nil {
			return err
		}
		batch = &pgx.Batch{}
		r.queue(batch)
		if err := t.send(ctx, batch); err != nil {
			return err
		}
		t.store.logRefused(r.bad)
	}
}

func (s *Store) logRefused(bad []PoisonedKey) {
	for _, key := range bad {
		s.log.Warn("a stored payload is not signed anew", "session", key.Session, "key", key.Key, "reason", key.Why)
	}
}

// resigning gathers new signatures.
type resigning struct {
	by         *signer
	was        func(db int) int // in which database the payload was when it was signed
	kids       []int64
	signatures [][]byte
	bad        []PoisonedKey // what has no valid signature to begin with
}

// resign sends the batch with a look at the payloads, and makes their signatures.
func (t *transaction) resign(ctx context.Context, b *pgx.Batch, kids []int64, r *resigning) error {
	b.Queue(payloadsSQL, kids, int32(signatureLen)).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			if err := r.row(rows.RawValues()); err != nil {
				return err
			}
		}
		return rows.Err()
	})
	return t.send(ctx, b)
}

func (r *resigning) row(v [][]byte) error {
	if len(v) != 10 {
		return errBadRow
	}
	at := payloadPlace{
		id:  session.ID{DB: int(int64At(v[1])), Keyspace: string(v[2]), Name: string(v[3])},
		key: string(v[4]), kind: session.Type(int64At(v[5])), expireAt: int64At(v[7]),
		parts: inParts(int16(int64At(v[6]))),
	}
	if len(v[9]) != sha256.Size { // its parts are missing
		r.bad = append(r.bad, PoisonedKey{session.Ref{Session: at.id, Key: at.key}, whyParts})
		return nil
	}
	digest := [sha256.Size]byte(v[9])
	if form := int64At(v[6]); form == formSigned || form == formSignedParts {
		before := at
		before.id.DB = r.was(at.id.DB)
		if why := r.by.verify(before, v[8], digest); why != "" {
			r.bad = append(r.bad, PoisonedKey{session.Ref{Session: at.id, Key: at.key}, why})
			return nil
		}
	}
	r.kids = append(r.kids, int64At(v[0]))
	r.signatures = append(r.signatures, r.by.sign(at, digest))
	return nil
}

func (r *resigning) queue(b *pgx.Batch) {
	if len(r.kids) > 0 {
		b.Queue(signaturesSQL, r.kids, r.signatures, int32(signatureLen))
	}
}
