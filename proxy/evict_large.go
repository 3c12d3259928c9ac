package proxy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"credproxy/internal/session"
	"credproxy/proxy/upstream"
)

// A session of many keys is taken out in pieces: one WATCH over all of them would stop Redis for long (watchMost), and one reading
// holds all of it in memory twice. The gate stays closed from the first piece to the last (E1), so no client sees a part.
//
//	P1  Every piece is read under WATCH, committed where it differs, and removed in a transaction with its marks, as a small session
//	    is as a whole (E2, E3).
//	P2  The first transaction removes the residency entry with its keys. From then on nothing says that the session is in
//	    Redis. Whatever ends the eviction between two pieces (a crash, a change by the side door, a client that wants the session)
//	    leaves it unknown: the next touch restores what is absent and leaves what is there.
//	P3  What is still there then is not older than what Postgres has: it was not touched, and its marks stand.
//
// Rejected: several connections that watch a part each (their EXECs are not one), and a script that compares digests (it stops
// Redis for the whole session).

// takeOutLarge is takeOut for one session of many keys.
func (e *evictor) takeOutLarge(ctx context.Context, db int, run upstream.Run, v *victim) (state, error) {
	cn := e.s.control.db(db).Conn()
	defer cn.Close()
	e.measure(ctx, cn, []*victim{v})
	done := e.s.moves.leaving([]*victim{v})
	now, err := resident, error(nil)
	known := make(map[string]*session.Key, len(v.known.Keys))
	for i := range v.known.Keys {
		known[v.known.Keys[i].Name] = &v.known.Keys[i]
	}
	for keys := range slices.Chunk(v.keys, watchMost) {
		var sent bool
		if sent, err = e.takePiece(ctx, cn, run, v, keys, known, now == resident); sent {
			now = unknown
		}
		if err != nil {
			break
		}
	}
	if err == nil {
		now = evicted
		err = e.dropMarks(v)
	}
	done(now != resident)
	switch {
	case err != nil && now == resident && strings.HasPrefix(err.Error(), "EXECABORT"):
		return e.takeOutFull(ctx, cn, run, []*victim{v})
	case err != nil:
		return now, fmt.Errorf("evict from Redis in pieces: %w", err)
	}
	return now, nil
}

// takePiece saves and removes some of a session's keys; sent: Redis may have removed them.
func (e *evictor) takePiece(ctx context.Context, cn *redis.Conn, run upstream.Run, v *victim, keys []string, known map[string]*session.Key,
	first bool) (sent bool, err error) {
	err = e.watch(ctx, cn, keys)
	if err == nil {
		err = e.savePiece(ctx, cn, run, v, keys, known)
	}
	e.s.barrier("evict-committed")
	if err == nil {
		err = ctx.Err() // somebody wants it
	}
	if err != nil {
		e.unwatch(cn)
		return false, err
	}
	err = e.unlinkPiece(cn, v, keys, first)
	e.s.barrier("evict-unlinked")
	refused := errors.Is(err, redis.TxFailedErr) || err != nil && strings.HasPrefix(err.Error(), "EXECABORT")
	return !refused, err
}

// savePiece commits what of the keys differs from Postgres.
func (e *evictor) savePiece(ctx context.Context, cn *redis.Conn, run upstream.Run, v *victim, keys []string, known map[string]*session.Key) error {
	wants := make([]wanted, len(keys))
	for i, key := range keys {
		wants[i].key = key
	}
	readings, err := e.read(ctx, cn, wants)
	if err != nil {
		return err
	}
	if err := e.s.control.checkRun(run); err != nil {
		return err
	}
	e.s.barrier("evict-read")
	c := session.Change{Session: v.id, Heat: v.heat}
	for i := range readings {
		rd := &readings[i].change
		switch {
		case readings[i].leftOut():
		case readings[i].again:
			return errNotEvictable{fmt.Sprintf("key %q changed its type while it was read", keys[i])}
		case rd.Op == session.Delete && v.bad[rd.Name]:
		case rd.Op == session.Delete && known[rd.Name] == nil && !v.known.Elsewhere:
		case rd.Op == session.Delete || known[rd.Name] == nil || !sameKey(&rd.Key, known[rd.Name]):
			c.Keys = append(c.Keys, *rd)
		}
	}
	if planted("save-skipped") {
		return nil
	}
	if _, err := e.s.store.Save(ctx, []session.Change{c}, time.Now().UnixMilli()); err != nil {
		return fmt.Errorf("save a session before eviction: %w", err)
	}
	progress(ctx)
	return e.saveRest(ctx, cn, run, v, leftOut(readings))
}

// unlinkPiece takes no caller's context, as unlink.
func (e *evictor) unlinkPiece(cn *redis.Conn, v *victim, keys []string, first bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), controlTimeout)
	defer cancel()
	_, err := cn.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.Unlink(ctx, keys...)
		if first {
			field := heatField(v.id)
			p.HDel(ctx, heatKey(field), field)
		}
		p.HDel(ctx, dirtyMarks, keys...)
		return nil
	})
	return err
}

// dropMarks removes the marks of keys that the session has not any more.
func (e *evictor) dropMarks(v *victim) error {
	ctx, cancel := context.WithTimeout(context.Background(), controlTimeout)
	defer cancel()
	names := slices.Collect(maps.Keys(v.marks))
	for names := range slices.Chunk(names, unlinkStep) {
		if err := e.s.control.db(v.id.DB).HDel(ctx, dirtyMarks, names...).Err(); err != nil {
			return fmt.Errorf("remove marks: %w", err)
		}
	}
	return nil
}
