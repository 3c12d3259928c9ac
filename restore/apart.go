package restore

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/jackc/pgx/v5"

	"credproxy/internal/session"
)

// A value that nobody wants to hold as a whole is written and read piece by piece, in one transaction all the same.
//
//  1. A string or a payload of DUMP is cut into parts of apartBytes, rows of fields under their number. So nothing here, on the wire or in
//     Postgres is larger than a few parts, and a value is limited by Redis only.
//  2. A part that is stored already is not written again: Postgres compares.
//  3. The key's row has the length, and the signature if there is one; it is of the parts' digests, so that it can be checked while they come.
//  4. A hash in the clear has the same rows as ever. Fields that it has not any more are found by counting.

const (
	apartBytes = 256 << 10 // of a part
	apartBatch = 1 << 20   // of what is sent to Postgres at once
)

// digest is a running SHA-256.
type digest interface {
	io.Writer
	Sum([]byte) []byte
}

func inParts(form int16) bool { return form >= formParts && form <= formSignedParts }

// apartLength reads the length of a value in parts from its key's row; -1: it makes no sense.
func apartLength(form int16, value []byte) int64 {
	if form == formSignedParts {
		value = value[min(len(value), signatureLen):]
	}
	if len(value) != 8 {
		return -1
	}
	return int64At(value)
}

const (
	dropPartsSQL = `DELETE FROM credproxy.fields WHERE kid = $1 AND field >= $2`
	countRowsSQL = `SELECT count(*) FROM credproxy.fields WHERE kid = $1`
	loadApartSQL = `
SELECT k.type, k.form, k.expire_at, k.value, f.field, f.value
FROM credproxy.sessions s JOIN credproxy.keys k ON k.sid = s.sid JOIN credproxy.fields f ON f.kid = k.kid
WHERE s.db = $1 AND s.keyspace = $2 AND s.id = $3 AND s.known AND k.key = $4 AND k.form >= 5 AND (k.expire_at IS NULL OR k.expire_at > $5)
ORDER BY f.field`
)

// SaveApart stores one key in one transaction, as read hands it over: to put, piece by piece, bytes of a string (Value), of a DUMP, or some
// fields of a hash; what it returns says the rest (Patch.Len: how many fields the hash has), or that the key is to be deleted. Bytes are lent
// during the call of put. read is called again when the transaction has to be repeated. Errors are as those of Save.
func (s *Store) SaveApart(ctx context.Context, id session.ID, heat session.Heat, name string,
	read func(put func(session.Key) error) (session.KeyChange, error)) error {
	err := s.fenced(ctx, []session.ID{id}, func(t *transaction) error {
		w := apartWriter{ctx: ctx, t: t, id: id, name: name, by: s.signer}
		return w.save(heat, read)
	})
	if err != nil {
		return fmt.Errorf("save key %q of session %q: %w", name, id, err)
	}
	return nil
}

// apartWriter writes one key in a transaction.
type apartWriter struct {
	ctx  context.Context
	t    *transaction
	id   session.ID
	name string
	by   *signer

	was    stored
	begun  bool // the key's row and its form are settled
	kind   session.Type
	form   int16
	buf    []byte // bytes of parts that have not been sent
	rows   []fieldOf
	length int64
	parts  uint32
	digest digest
}

func (w *apartWriter) save(heat session.Heat, read func(func(session.Key) error) (session.KeyChange, error)) error {
	b := begin()
	w.t.queueHeats(b, []session.Change{{Session: w.id, Heat: heat}})
	look := change{id: w.id, KeyChange: &session.KeyChange{Key: session.Key{Name: w.name}, Op: session.Delete}}
	was, err := w.t.resolve(w.ctx, b, []change{look})
	if err != nil {
		return err
	}
	w.was = was[0]
	c, err := w.all(read)
	if err == nil && w.form == formClear && c.Op != session.Delete {
		c, err = w.without(c, read)
	}
	if err != nil {
		return err
	}
	b = &pgx.Batch{}
	if w.was.elsewhere {
		queueBack(b, []int64{w.was.sid})
	}
	switch {
	case c.Op == session.Delete || !w.begun:
		queueIDs(b, dropKeysSQL, []int64{w.was.kid})
	case inParts(w.form):
		b.Queue(dropPartsSQL, w.was.kid, partName(w.parts))
		fallthrough
	default:
		queueHeaders(b, []header{w.header(c.ExpireAt)})
	}
	queueCommit(b)
	return w.t.send(w.ctx, b)
}

// all takes the whole key.
func (w *apartWriter) all(read func(func(session.Key) error) (session.KeyChange, error)) (session.KeyChange, error) {
	c, err := read(w.put)
	if err == nil {
		err = w.flush()
	}
	return c, err
}

// without removes fields that the hash does not have: which they are would have to be remembered of all that it has, so all are written anew.
func (w *apartWriter) without(c session.KeyChange, read func(func(session.Key) error) (session.KeyChange, error)) (session.KeyChange, error) {
	var stored int64
	b := &pgx.Batch{}
	b.Queue(countRowsSQL, w.was.kid).QueryRow(func(row pgx.Row) error { return row.Scan(&stored) })
	if err := w.t.send(w.ctx, b); err != nil || stored <= c.Len {
		return c, err
	}
	b = &pgx.Batch{}
	queueIDs(b, dropFieldsSQL, []int64{w.was.kid})
	if err := w.t.send(w.ctx, b); err != nil {
		return c, err
	}
	return w.all(read)
}

// put takes a piece.
func (w *apartWriter) put(piece session.Key) error {
	if !w.begun {
		if err := w.start(&piece); err != nil {
			return err
		}
	}
	if len(piece.Fields) > 0 {
		w.rows = append(w.rows, fieldsOf(w.was.kid, piece.Fields)...)
		return w.flush()
	}
	for _, b := range [...][]byte{piece.Value, piece.Dump} {
		for len(b) > 0 {
			n := min(len(b), apartBatch-len(w.buf))
			w.buf, b = append(w.buf, b[:n]...), b[n:]
			if len(w.buf) == apartBatch {
				if err := w.flush(); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// start makes the key's row, which its parts need, and takes away rows of another form.
func (w *apartWriter) start(piece *session.Key) error {
	w.begun, w.kind = true, piece.Type
	switch {
	case piece.Type == session.Hash && piece.Dump == nil:
		w.form = formClear
	case piece.Type == session.String:
		w.form = formParts
	case w.by != nil:
		w.form = formSignedParts
	default:
		w.form = formDumpParts
	}
	if inParts(w.form) {
		w.buf, w.digest = make([]byte, 0, apartBatch), sha256.New()
	}
	b := &pgx.Batch{}
	if same := w.was.form != 0 && inParts(w.was.form) == inParts(w.form) && (inParts(w.form) || w.was.clearHash()); !same {
		if w.was.form != 0 {
			queueIDs(b, dropFieldsSQL, []int64{w.was.kid})
		}
		queueHeaders(b, []header{w.header(w.was.expireAt)})
		return w.t.send(w.ctx, b)
	}
	return nil
}

// header is the key's row as it is now.
func (w *apartWriter) header(expireAt int64) header {
	h := header{stored: w.was, name: w.name}
	h.kind, h.form, h.expireAt = w.kind, w.form, expireAt
	if !inParts(w.form) {
		return h
	}
	if w.form == formSignedParts {
		h.value = w.by.sign(payloadPlace{w.id, w.name, w.kind, expireAt, true}, [sha256.Size]byte(w.digest.Sum(nil)))
	}
	h.value = binary.BigEndian.AppendUint64(h.value, uint64(w.length))
	return h
}

// flush sends what has been gathered.
func (w *apartWriter) flush() error {
	for part := range slices.Chunk(w.buf, apartBytes) {
		sum := sha256.Sum256(part)
		w.digest.Write(sum[:])
		w.rows = append(w.rows, fieldOf{w.was.kid, session.Field{Name: string(partName(w.parts)), Value: part}})
		w.parts, w.length = w.parts+1, w.length+int64(len(part))
	}
	if len(w.rows) == 0 {
		return nil
	}
	b := &pgx.Batch{}
	for chunk := range chunks(w.rows, func(f fieldOf) int { return len(f.Name) + len(f.Value) }) {
		kids, names, values := fieldColumns(chunk)
		b.Queue(putFieldsSQL, kids, names, values)
	}
	err := w.t.send(w.ctx, b)
	clear(w.rows)
	w.rows, w.buf = w.rows[:0], w.buf[:0]
	return err
}

func partName(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

// errApart says why a value in parts is not what it should be.
type errApart struct{ why string }

func (e errApart) Error() string { return e.why }

const (
	whyGone  = "it is not stored in parts any more"
	whyParts = "parts of it are missing, or too many"
)

// LoadApart hands over a value that is stored in parts (Key.Apart), unless it has expired at now: to begin the key with the value's length, then
// to part one piece after the other, lent during the call. Only when it returns nil is the value complete and its signature valid; with a
// *PoisonError it cannot be used. It is of one moment, maybe a later one than what Load has said.
func (s *Store) LoadApart(ctx context.Context, id session.ID, name string, now int64, begin func(session.Key) error, part func([]byte) error) error {
	r := apartReader{id: id, name: name, by: s.signer, begin: begin, part: part, digest: sha256.New()}
	err := s.read(ctx, loadApartSQL, []any{int32(id.DB), id.Keyspace, indexed(id.Name), indexed(name), now}, r.row)
	if err == nil {
		err = r.end()
	}
	var bad errApart
	if errors.As(err, &bad) && bad.why != whyGone {
		return &PoisonError{Keys: []PoisonedKey{{session.Ref{Session: id, Key: name}, bad.why}}}
	}
	if err != nil {
		return fmt.Errorf("load key %q of session %q: %w", name, id, err)
	}
	return nil
}

// apartReader checks parts as they come.
type apartReader struct {
	id    session.ID
	name  string
	by    *signer
	begin func(session.Key) error
	part  func([]byte) error

	parts     uint32
	left      int64
	key       session.Key
	form      int16
	signature []byte
	digest    digest
}

func (r *apartReader) row(rows pgx.Rows) error {
	v := rows.RawValues()
	if r.parts == 0 {
		if err := r.head(v); err != nil {
			return err
		}
	}
	if string(v[4]) != string(partName(r.parts)) || int64(len(v[5])) > r.left {
		return errApart{whyParts}
	}
	r.parts, r.left = r.parts+1, r.left-int64(len(v[5]))
	sum := sha256.Sum256(v[5])
	r.digest.Write(sum[:])
	return r.part(v[5])
}

func (r *apartReader) head(v [][]byte) error {
	r.form = int16(int64At(v[1]))
	r.key = session.Key{Name: r.name, Type: session.Type(int64At(v[0])), ExpireAt: int64At(v[2])}
	r.left = apartLength(r.form, v[3])
	switch {
	case !inParts(r.form) || r.left < 0 || !understood(r.key.Type, int64At(v[0]), r.form, v[3] != nil):
		return errApart{whyForm}
	case r.form == formDumpParts && r.by != nil && !r.by.unsigned:
		return errApart{whyUnsigned}
	case r.form == formSignedParts && r.by == nil:
		return errApart{whyNoSecret}
	case r.form == formSignedParts:
		r.signature = append([]byte(nil), v[3][:signatureLen]...)
	}
	r.key.Apart = r.left
	return r.begin(r.key)
}

func (r *apartReader) end() error {
	switch {
	case r.parts == 0:
		return errApart{whyGone}
	case r.left != 0:
		return errApart{whyParts}
	case r.form != formSignedParts:
		return nil
	}
	at := payloadPlace{r.id, r.name, r.key.Type, r.key.ExpireAt, true}
	if why := r.by.verify(at, r.signature, [sha256.Size]byte(r.digest.Sum(nil))); why != "" {
		return errApart{why}
	}
	return nil
}
