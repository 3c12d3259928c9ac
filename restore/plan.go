package restore

import (
	"fmt"
	"slices"

	"credproxy/internal/session"
)

// stored is what the tables hold of a key before it is changed.
type stored struct {
	sid, kid int64 // kid is a fresh number when nothing is stored
	form     int16 // 0: nothing is stored
	kind     session.Type
	expireAt int64
	fields   *difference // of a hash in the clear from the one that replaces it

	elsewhere bool // of the session
}

func (s stored) clearHash() bool { return s.form == formClear && s.kind == session.Hash }

// hasRows reports whether rows of fields belong to the key.
func (s stored) hasRows() bool { return s.clearHash() || inParts(s.form) }

func (s stored) expired(now int64) bool { return s.expireAt != 0 && s.expireAt <= now }

// change is one key change, ready to be planned.
type change struct {
	id session.ID
	*session.KeyChange
	by *signer
}

func (c change) ref() session.Ref { return session.Ref{Session: c.id, Key: c.Name} }

// stored returns in which form a Put is stored, and the value in the key's row: nil for a hash in the clear.
func (c change) stored() (form int16, value []byte) {
	switch {
	case c.Dump != nil:
		return c.by.stored(payloadPlace{c.id, c.Name, c.Type, c.ExpireAt, false}, c.Dump)
	case c.Type == session.Hash:
		return formClear, nil
	default:
		return formClear, notNil(c.Value)
	}
}

// isHashPatch reports whether a Patch makes sense, whatever is stored.
func (c change) isHashPatch() bool {
	return c.Type == session.Hash && c.Dump == nil && !hasLongField(c.Fields)
}

// rewrite is the set of row changes that a pass amounts to. They are carried out in the order of the members.
type rewrite struct {
	dropKeys   []int64 // keys with all their fields
	headers    []header
	expiries   []header // of keys that stay as they are otherwise
	dropFields []int64  // all fields of these keys
	delFields  []fieldOf
	putFields  []fieldOf
	dropEmpty  []int64 // hashes that are gone if no field is left
}

// header is a row of keys. value is nil for a hash in the clear.
type header struct {
	stored
	name  string
	value []byte
}

// fieldOf is a row of fields, or its name only.
type fieldOf struct {
	kid int64
	session.Field
}

// plan decides what a change means for the rows, given what is stored, and reports whether it was accepted: a Patch that
// does not fit what is stored is refused and changes nothing.
func (w *rewrite) plan(c change, was stored, now int64) bool {
	op := c.Op
	if op == session.Put && c.Type == session.Hash && c.Dump == nil && len(c.Fields) == 0 {
		op = session.Delete // a hash without fields does not exist
	}
	switch op {
	case session.Delete:
		if was.form != 0 {
			w.dropKeys = append(w.dropKeys, was.kid)
		}
		return true
	case session.Patch:
		return w.patch(c, was, now)
	default:
		w.put(c, was)
		return true
	}
}

func (w *rewrite) put(c change, was stored) {
	h := header{stored: was, name: c.Name}
	h.kind, h.expireAt = c.Type, c.ExpireAt
	h.form, h.value = c.stored()
	w.headers = append(w.headers, h)
	switch {
	case h.clearHash() && was.clearHash():
		w.removeFields(was.kid, was.fields.gone)
		w.putFields = append(w.putFields, fieldsOf(was.kid, was.fields.changed(c.Fields))...)
	case h.clearHash():
		if was.form != 0 { // rows that are no fields would become some
			w.dropFields = append(w.dropFields, was.kid)
		}
		w.putFields = append(w.putFields, fieldsOf(was.kid, c.Fields)...)
	case was.hasRows():
		w.dropFields = append(w.dropFields, was.kid)
	}
}

func (w *rewrite) patch(c change, was stored, now int64) bool {
	if !c.isHashPatch() {
		return false
	}
	fresh := was.form == 0
	if !fresh && (!was.clearHash() || was.expired(now)) {
		return false
	}
	fields := unique(c.Fields)
	if fresh && (int64(len(fields)) != c.Len || c.Len == 0) {
		return false
	}
	h := header{stored: was, name: c.Name}
	h.kind, h.form, h.expireAt = session.Hash, formClear, c.ExpireAt
	switch {
	case fresh:
		w.headers = append(w.headers, h)
	case was.expireAt != c.ExpireAt:
		w.expiries = append(w.expiries, h)
	}
	w.removeFields(was.kid, c.Removed)
	if len(c.Removed) > 0 && len(fields) == 0 {
		w.dropEmpty = append(w.dropEmpty, was.kid)
	}
	w.putFields = append(w.putFields, fieldsOf(was.kid, fields)...)
	return true
}

func (w *rewrite) removeFields(kid int64, names []string) {
	for _, name := range names {
		w.delFields = append(w.delFields, fieldOf{kid: kid, Field: session.Field{Name: name}})
	}
}

// fieldsOf returns the rows of a key's fields, each field once.
func fieldsOf(kid int64, fields []session.Field) []fieldOf {
	fields = unique(fields)
	rows := make([]fieldOf, 0, len(fields))
	for _, f := range fields {
		rows = append(rows, fieldOf{kid: kid, Field: session.Field{Name: f.Name, Value: notNil(f.Value)}})
	}
	return rows
}

// unique drops all but the last of the fields of one name: a statement may not change a row twice.
func unique(fields []session.Field) []session.Field {
	at := make(map[string]int, len(fields))
	for i := range fields {
		at[fields[i].Name] = i
	}
	if len(at) == len(fields) {
		return fields
	}
	out := make([]session.Field, 0, len(at))
	for i := range fields {
		if at[fields[i].Name] == i {
			out = append(out, fields[i])
		}
	}
	return out
}

func hasLongField(fields []session.Field) bool {
	return slices.ContainsFunc(fields, func(f session.Field) bool { return len(f.Name) > maxField })
}

// notNil keeps an empty value from being stored as none.
func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// check refuses changes that no table can hold and that are mistakes of the caller.
func check(c change) error {
	switch {
	case c.Op > session.Delete:
		return fmt.Errorf("unknown operation %d", c.Op)
	case c.Op != session.Put:
		return nil
	case c.Type < session.String || c.Type > session.Module:
		return fmt.Errorf("type %d cannot be stored", c.Type)
	case c.Dump == nil && c.Type > session.Hash:
		return fmt.Errorf("a %s is stored as a DUMP payload only", c.Type)
	case c.Dump == nil && hasLongField(c.Fields):
		return fmt.Errorf("a hash with a field name over %d bytes is stored as a DUMP payload only", maxField)
	default:
		return nil
	}
}
