package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"
)

// This part measures restores: how long the first command on an evicted session takes, beside the least that moving its rows
// from Postgres to Redis costs (floor.go), and what the restore of a large session costs clients of others (disturb.go).

// restoreRoundTime is about what one round over all shapes takes; it only bounds the run.
const restoreRoundTime = 500 * time.Millisecond

// restoreShape is one session: strings, or one hash.
type restoreShape struct {
	name         string
	keys, fields int
	size         int // bytes of a value
}

// restoreShapes are sessions as bots have them, the largest last.
var restoreShapes = []restoreShape{
	{"1 key, 0.5 KB", 1, 0, 500},
	{"200 keys, 100 KB", 200, 0, 500},
	{"855 keys, 260 KB", 855, 0, 300},
	{"3,071 keys, 1.7 MB", 3_071, 0, 550},
	{"hash of 28,700 fields, 17 MB", 1, 28_700, 580},
}

// rounds is how often a shape is measured, and warm-up how often before that.
func (s restoreShape) rounds(restores int) int {
	if s.fields > 0 {
		return max(restores/5, 1)
	}
	return restores
}

const restoreWarmUps = 3

// session is the bare id of its session, key the name of one of its keys.
func (s restoreShape) session() string    { return "shape" + strconv.Itoa(max(s.keys, s.fields)) }
func (s restoreShape) key(n int) string   { return "restore:" + s.session() + ":" + strconv.Itoa(n) }
func fieldName(n int) string              { return "session-5511" + strconv.Itoa(n) + ".0" }
func (s restoreShape) count() int         { return max(s.keys, s.fields) }
func (s restoreShape) evictable() string  { return "restore/" + s.session() }
func (s restoreShape) value(n int) string { return fmt.Sprintf("%0*d", s.size, n) }
func (s restoreShape) touch(b []byte) []byte {
	if s.fields > 0 {
		return command(b, "HGET", s.key(0), fieldName(s.fields/2))
	}
	return command(b, "GET", s.key(s.keys/2))
}

// last asks for what is restored last.
func (s restoreShape) last() []string {
	if s.fields > 0 {
		return []string{"HLEN", s.key(0)}
	}
	return []string{"EXISTS", s.key(s.keys - 1)}
}

// restoreBench is the proxy with its Redis and Postgres, and a Redis of the same content for the floor.
type restoreBench struct {
	proxied *conn // a client of the proxy
	behind  *conn // of the proxy's Redis
	bare    *conn // of the floor's Redis
	floor   *floor
}

// runRestore measures, prints and writes.
func runRestore(ctx context.Context, s *stack, out io.Writer) error {
	var direct, proxy *target
	for _, t := range s.targets {
		if t.dsn != "" {
			proxy = t
		} else {
			direct = t
		}
	}
	b := &restoreBench{}
	defer b.close()
	if err := b.open(ctx, direct, proxy, s.opts); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, b.hangUp)
	defer stop()
	for _, shape := range restoreShapes {
		fmt.Fprintf(s.progress, "filling: %s\n", shape.name)
		if err := b.fill(ctx, shape); err != nil {
			return fmt.Errorf("fill %s: %w", shape.name, err)
		}
	}
	if err := b.settle(ctx); err != nil {
		return err
	}
	var r restoreReport
	for _, shape := range restoreShapes {
		fmt.Fprintf(s.progress, "restoring: %s\n", shape.name)
		got, err := b.measure(ctx, shape, s.opts.restores)
		if err != nil {
			return fmt.Errorf("restore %s: %w", shape.name, err)
		}
		r.Restores = append(r.Restores, got)
	}
	fmt.Fprintln(s.progress, "restoring while others read")
	others, err := b.disturb(ctx, proxy, s.opts.restores)
	if err != nil {
		return fmt.Errorf("restore while others read: %w", err)
	}
	r.Others = others
	r.About = describe(ctx, s.opts, s)
	return r.publish(s.opts, out)
}

func (b *restoreBench) open(ctx context.Context, direct, proxy *target, opts options) (err error) {
	deadline := time.Now().Add(startTime + 3*opts.planned())
	for _, c := range []struct {
		at   **conn
		addr string
	}{{&b.proxied, proxy.addr}, {&b.behind, proxy.redisAddr}, {&b.bare, direct.addr}} {
		if *c.at, err = dial(ctx, c.addr, deadline); err != nil {
			return err
		}
	}
	b.floor, err = openFloor(ctx, proxy.dsn, direct.redisAddr)
	return err
}

func (b *restoreBench) conns() []*conn {
	return slices.DeleteFunc([]*conn{b.proxied, b.behind, b.bare}, func(c *conn) bool { return c == nil })
}

func (b *restoreBench) hangUp() {
	for _, c := range b.conns() {
		c.Close()
	}
}

func (b *restoreBench) close() {
	b.hangUp()
	if b.floor != nil {
		b.floor.close()
	}
}

// fill writes a session through the proxy, and the same keys into the floor's Redis: both Redis have the same size then.
func (b *restoreBench) fill(ctx context.Context, s restoreShape) error {
	for _, c := range []*conn{b.proxied, b.bare} {
		var batch []byte
		n := 0
		for i := range s.count() {
			if s.fields > 0 {
				batch = command(batch, "HSET", s.key(0), fieldName(i), s.value(i))
			} else {
				batch = command(batch, "SET", s.key(i), s.value(i))
			}
			if n++; n < 100 && i < s.count()-1 {
				continue
			}
			if err := c.do(batch, n); err != nil {
				return err
			}
			batch, n = batch[:0], 0
		}
	}
	return ctx.Err()
}

// settle leaves everything saved, and the tables as autovacuum would.
func (b *restoreBench) settle(ctx context.Context) error {
	if err := b.proxied.do(command(nil, "CREDPROXY", "SYNC"), 1); err != nil {
		return fmt.Errorf("wait for saving: %w", err)
	}
	return b.floor.tidy(ctx)
}

// measure restores one session again and again, by turns through the proxy and barely.
func (b *restoreBench) measure(ctx context.Context, s restoreShape, restores int) (restoreResult, error) {
	var got restoreTimes
	for round := range restoreWarmUps + s.rounds(restores) {
		if round == restoreWarmUps {
			got = restoreTimes{}
		}
		turns := []func(context.Context, restoreShape, *restoreTimes) error{b.viaProxy, b.barely}
		if round%2 == 1 {
			slices.Reverse(turns)
		}
		for _, turn := range turns {
			if err := turn(ctx, s, &got); err != nil {
				return restoreResult{}, err
			}
		}
	}
	return got.result(s.name), nil
}

// viaProxy evicts the session and times the next command on it.
func (b *restoreBench) viaProxy(_ context.Context, s restoreShape, got *restoreTimes) error {
	if err := b.evict(s); err != nil {
		return err
	}
	took, err := b.proxied.timed(s.touch(nil))
	if err != nil {
		return err
	}
	got.proxy = append(got.proxy, took)
	if err := b.behind.has(s); err != nil {
		return err
	}
	took, err = b.proxied.timed(s.touch(nil))
	got.resident = append(got.resident, took)
	return err
}

// evict takes the session out of the proxy's Redis, and waits until Redis has freed its memory.
func (b *restoreBench) evict(s restoreShape) error {
	if err := b.proxied.do(command(nil, "CREDPROXY", "EVICT", s.evictable()), 1); err != nil {
		return fmt.Errorf("evict: %w", err)
	}
	return b.behind.freed()
}

// barely does the same with nothing but the drivers.
func (b *restoreBench) barely(ctx context.Context, s restoreShape, got *restoreTimes) error {
	if err := b.bare.remove(s); err != nil {
		return err
	}
	start := time.Now()
	rows, err := b.floor.read(ctx, s)
	if err != nil {
		return err
	}
	read := time.Since(start)
	if err := b.floor.write(ctx, s, rows); err != nil {
		return err
	}
	moved := time.Since(start)
	if _, err := b.bare.timed(s.touch(nil)); err != nil {
		return err
	}
	whole := time.Since(start)
	got.read, got.floor, got.withGet = append(got.read, read), append(got.floor, moved), append(got.withGet, whole)
	return b.bare.has(s)
}
