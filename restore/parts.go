package restore

import (
	"context"
	"errors"
	"fmt"

	"credproxy/internal/session"
)

// partBytes is about how much of a session is handed over at once, in payload bytes.
const partBytes = 128 << 10

// LoadParts is Load for a session of any size: it hands to part what it has read while Postgres is still sending the rest, so
// that nobody holds a large session in memory, and returns in the snapshot what is left over. A string or a DUMP is handed over
// whole. A hash may come in pieces, each with its name and expiry; its last piece, maybe without fields, is in the snapshot,
// as is a hash that fits one part.
//
// What part is given is valid during the call only. part(nil) says that all that was handed over before is void, as the reading
// began anew. An error of part ends the load, and can be found in the error returned. What the source has is never
// handed over in parts.
func (s *Store) LoadParts(ctx context.Context, id session.ID, now int64, part func([]session.Key) error) (session.Snapshot, error) {
	p := &parts{take: part}
	snapshots, err := s.load(ctx, []session.ID{id}, now, 0, p)
	if p.err != nil {
		err = fmt.Errorf("pass on what was read: %w", p.err)
	}
	return s.loaded(ctx, id, snapshots, err)
}

// loaded ends Load and LoadParts.
func (s *Store) loaded(ctx context.Context, id session.ID, snapshots []session.Snapshot, err error) (session.Snapshot, error) {
	if len(snapshots) == 0 {
		return session.Snapshot{}, fmt.Errorf("load session %q: %w", id, err)
	}
	if failed := s.fromSource(ctx, []session.ID{id}, snapshots); failed != nil {
		return session.Snapshot{}, fmt.Errorf("load session %q: %w", id, failed)
	}
	return snapshots[0], err
}

// parts hands over what loading has gathered.
type parts struct {
	take  func([]session.Key) error
	begun bool
	keys  []session.Key // strings and DUMPs that have not been handed over
	size  int64         // of them, or of the hash being read
	kept  bool          // something stays whose bytes are in the arena
	err   error         // of take
}

// errPart stands for parts.err where Postgres is looked at: an error of Redis must not pass for one of a connection to Postgres.
var errPart = errors.New("what was read could not be passed on")

// restart begins the reading, perhaps anew.
func (p *parts) restart() error {
	if p == nil {
		return nil
	}
	again := p.begun
	*p = parts{take: p.take}
	if !again {
		return nil
	}
	return p.hand(nil)
}

func (p *parts) hand(keys []session.Key) error {
	p.begun, p.size = keys != nil, 0
	if p.err = p.take(keys); p.err != nil {
		return errPart
	}
	return nil
}

// addKey takes a key that is no hash in the clear.
func (l *loading) addKey(snapshot *session.Snapshot, k session.Key) error {
	p := l.parts
	if p == nil {
		snapshot.Keys = append(snapshot.Keys, k)
		return nil
	}
	p.keys = append(p.keys, k)
	if p.size += k.Bytes(); p.size < partBytes {
		return nil
	}
	if err := p.hand(p.keys); err != nil {
		return err
	}
	clear(p.keys)
	p.keys = p.keys[:0]
	l.bytes.reset(p.kept)
	return nil
}

// nextHash says that the fields that follow are another hash's; all keys have come before.
func (l *loading) nextHash() {
	if p := l.parts; p != nil {
		p.kept = p.kept || p.size > 0
		p.size = 0
	}
}

// addedField looks whether the hash has grown large.
func (l *loading) addedField(f *session.Field) error {
	p := l.parts
	if p == nil {
		return nil
	}
	if p.size += int64(len(f.Name) + len(f.Value)); p.size < partBytes {
		return nil
	}
	if err := p.hand([]session.Key{*l.last}); err != nil {
		return err
	}
	l.last.Fields = l.last.Fields[:0]
	l.bytes.reset(p.kept)
	p.kept = false
	return nil
}
