package proxy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"credproxy/internal/session"
	"credproxy/proxy/upstream"
)

// save reads the victims' keys and commits what differs from Postgres.
func (e *evictor) save(ctx context.Context, cn *redis.Conn, run upstream.Run, victims []*victim) error {
	var wants []wanted
	for _, v := range victims {
		for _, key := range v.keys {
			wants = append(wants, wanted{key: key})
		}
	}
	readings, err := e.read(ctx, cn, wants)
	if err != nil {
		return err
	}
	if err := e.s.control.checkRun(run); err != nil {
		return err
	}
	e.s.barrier("evict-read")
	e.measure(ctx, cn, victims)
	var verdict verdict
	left := make([][]reading, len(victims))
	for n, v := range victims {
		mine := readings[:len(v.keys)]
		readings, left[n] = readings[len(v.keys):], leftOut(mine)
		for i := range mine {
			if mine[i].again {
				return errNotEvictable{fmt.Sprintf("key %q changed its type while it was read", v.keys[i])}
			}
		}
		verdict.judge(v, mine, e.s.sessions.off)
	}
	if planted("save-skipped") {
		return nil
	}
	if err := e.keep(ctx, verdict.save, verdict.saved); err != nil {
		return err
	}
	if err := e.handOver(ctx, verdict.stubs, verdict.handed); err != nil {
		return err
	}
	for n, v := range victims {
		if err := e.saveRest(ctx, cn, run, v, left[n]); err != nil {
			return err
		}
	}
	return nil
}

// read reads victims' keys, as many of them as may be held. With sync = "off" it is all of them, as a session is compared as a whole there.
func (e *evictor) read(ctx context.Context, cn *redis.Conn, wants []wanted) ([]reading, error) {
	most := int64(readMost)
	if e.s.sessions.off {
		most = 0
	}
	return readBounded(ctx, cn, wants, e.s.greeting.atLeast(7, 4), most)
}

// saveRest commits the keys that a reading has left out, some at a time or one by itself. They are watched all the while, so that E2 holds for
// them as well; what Postgres has of them already it finds out itself.
func (e *evictor) saveRest(ctx context.Context, cn *redis.Conn, run upstream.Run, v *victim, left []reading) error {
	for len(left) > 0 {
		var wants []wanted
		for i := range left {
			if !left[i].apart {
				wants = append(wants, wanted{key: left[i].change.Name})
				continue
			}
			err := e.s.saveApart(ctx, run, v.id, v.heat, left[i].change.Name)
			if errors.Is(err, errAgain) {
				return errNotEvictable{fmt.Sprintf("key %q changed its type while it was read", left[i].change.Name)}
			}
			if err != nil {
				return err
			}
		}
		var err error
		if left, err = e.saveSome(ctx, cn, run, v, wants); err != nil {
			return err
		}
	}
	return nil
}

// saveSome commits keys as far as they may be held at once; it returns those that are left.
func (e *evictor) saveSome(ctx context.Context, cn *redis.Conn, run upstream.Run, v *victim, wants []wanted) (left []reading, err error) {
	if len(wants) == 0 {
		return nil, nil
	}
	readings, err := e.read(ctx, cn, wants)
	if err == nil {
		err = e.s.control.checkRun(run)
	}
	if err != nil {
		return nil, err
	}
	c := session.Change{Session: v.id, Heat: v.heat}
	for i := range readings {
		switch {
		case readings[i].again:
			return nil, errNotEvictable{fmt.Sprintf("key %q changed its type while it was read", wants[i].key)}
		case !readings[i].leftOut():
			c.Keys = append(c.Keys, readings[i].change)
		}
	}
	if _, err := e.s.store.Save(ctx, []session.Change{c}, time.Now().UnixMilli()); err != nil {
		return nil, fmt.Errorf("save a session before eviction: %w", err)
	}
	progress(ctx)
	return leftOut(readings), nil
}
