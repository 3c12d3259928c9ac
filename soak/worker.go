package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// opTimeout is how long a client waits for a reply. It is longer than everything that the proxy may wait for, so that no operation
// is still under way when its round has ended.
const opTimeout = 25 * time.Second

// errPause keeps clients from filling the time in which the proxy is down with attempts to connect.
const errPause = 5 * time.Millisecond

// poolSize is not how many connections a client has (each works alone, so one), but after how many failed attempts to connect
// go-redis stops trying for a second: the proxy is back much sooner.
const poolSize = 4096

// dialClient connects to the proxy or to Redis as any client would, and nothing is ever sent twice.
func dialClient(addr string) *redis.Client {
	return redis.NewClient(&redis.Options{
		Addr: addr, Protocol: 2, PoolSize: poolSize, MaxRetries: -1, DialerRetries: 1, DialTimeout: time.Second,
		ReadTimeout: opTimeout, WriteTimeout: opTimeout, ContextTimeoutEnabled: true, DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
}

// worker is one client with what it has seen.
type worker struct {
	id     int
	rng    *rand.Rand
	cl     *redis.Client
	clock  clock
	next   *atomic.Int64 // values: no two writes of a run write the same
	log    []op
	odd    []string // replies that no fault explains
	refuse map[string]int
}

func newWorker(id int, rng *rand.Rand, addr string, c clock, next *atomic.Int64) *worker {
	return &worker{id: id, rng: rng, cl: dialClient(addr), clock: c, next: next, refuse: map[string]int{}}
}

// run works on the sessions until ctx ends; the operation under way is finished.
func (w *worker) run(ctx context.Context, sessions []sess) {
	for ctx.Err() == nil {
		if w.step(sessions[w.rng.IntN(len(sessions))]) == done {
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(errPause):
		}
	}
}

// attempt runs one command between two readings of the clock.
func (w *worker) attempt(f func(ctx context.Context) error) (o op) {
	ctx, cancel := context.WithTimeout(context.Background(), opTimeout)
	defer cancel()
	o.client, o.call = w.id, w.clock.now()
	err := f(ctx)
	o.ret = w.clock.now()
	strange := false
	if o.fate, strange = fateOf(err); strange {
		w.odd = append(w.odd, fmt.Sprintf("a reply that no fault explains: %v", err))
	}
	if o.fate != done {
		word := firstWord(err)
		w.refuse[word]++
		o.dialled, o.aborted = word == "dial", word == "EXECABORT"
	}
	if o.fate == unknown {
		o.ret = forever
	}
	return o
}

func firstWord(err error) string {
	if f, _ := fateOf(err); f == unknown {
		return "unknown"
	}
	word, _, _ := strings.Cut(err.Error(), " ")
	return word
}

// note records the operation for one partition. A reading without an answer says nothing.
func (w *worker) note(o op, part string, v verb) *op {
	if v.reads() && o.fate != done {
		return &op{}
	}
	o.part, o.verb = part, v
	w.log = append(w.log, o)
	return &w.log[len(w.log)-1]
}

func (w *worker) step(s sess) fate {
	switch n := w.rng.IntN(100); {
	case n < 34:
		return w.text(s)
	case n < 64:
		return w.hash(s)
	case n < 76:
		return w.counter(s)
	case n < 88:
		return w.list(s)
	}
	return w.leased(s)
}

// text works on the two strings.
func (w *worker) text(s sess) fate {
	key := s.key([]string{keyA, keyB}[w.rng.IntN(2)])
	switch n := w.rng.IntN(100); {
	case n < 35:
		return w.set(key)
	case n < 65:
		return w.get(key)
	case n < 75:
		return w.del(key)
	case n < 80:
		var text string
		o := w.attempt(func(ctx context.Context) (err error) { text, err = w.cl.GetDel(ctx, key).Result(); return })
		w.note(o, key, vGetDel).out = w.value(key, text)
		return o.fate
	case n < 90:
		return w.mset(s)
	}
	return w.mget(s)
}

// value reads a value back; "" is none.
func (w *worker) value(key, text string) int64 {
	if text == "" {
		return 0
	}
	n, ok := decode(text)
	if !ok {
		w.odd = append(w.odd, fmt.Sprintf("key %s holds bytes that nobody wrote: %q", key, text))
	}
	return n
}

var setScript = redis.NewScript(`return redis.call('SET', KEYS[1], ARGV[1])`)

// set writes a string: by SET, by a script, or in a transaction.
func (w *worker) set(key string) fate {
	n := w.next.Add(1)
	way := w.rng.IntN(10)
	o := w.attempt(func(ctx context.Context) error {
		switch way {
		case 0:
			return setScript.Eval(ctx, w.cl, []string{key}, encode(n)).Err()
		case 1:
			_, err := w.cl.TxPipelined(ctx, func(p redis.Pipeliner) error { p.Set(ctx, key, encode(n), 0); return nil })
			return err
		}
		return w.cl.Set(ctx, key, encode(n), 0).Err()
	})
	if way == 1 && o.fate == refused && !o.dialled && !o.aborted {
		o.fate, o.ret = unknown, forever // MULTI itself may have been refused, and what came behind it was run by itself
	}
	o.arg, o.out = n, noClaim
	w.note(o, key, vSet)
	return o.fate
}

func (w *worker) get(key string) fate {
	var text string
	o := w.attempt(func(ctx context.Context) (err error) { text, err = w.cl.Get(ctx, key).Result(); return })
	w.note(o, key, vGet).out = w.value(key, text)
	return o.fate
}

func (w *worker) del(key string) fate {
	var n int64
	o := w.attempt(func(ctx context.Context) (err error) { n, err = w.cl.Del(ctx, key).Result(); return })
	w.note(o, key, vDel).out = n
	return o.fate
}

func (w *worker) mset(s sess) fate {
	a, b := w.next.Add(1), w.next.Add(1)
	o := w.attempt(func(ctx context.Context) error {
		return w.cl.MSet(ctx, s.key(keyA), encode(a), s.key(keyB), encode(b)).Err()
	})
	o.out = noClaim
	w.note(o, s.key(keyA), vSet).arg = a
	w.note(o, s.key(keyB), vSet).arg = b
	return o.fate
}

func (w *worker) mget(s sess) fate {
	var got []any
	o := w.attempt(func(ctx context.Context) (err error) {
		got, err = w.cl.MGet(ctx, s.key(keyA), s.key(keyB)).Result()
		return
	})
	if o.fate != done {
		return o.fate
	}
	got = append(got, nil, nil) // another command's reply may have none; it is no value then
	for i, suffix := range []string{keyA, keyB} {
		text, _ := got[i].(string)
		w.note(o, s.key(suffix), vGet).out = w.value(s.key(suffix), text)
	}
	return o.fate
}

// hash works on the hash's fields.
func (w *worker) hash(s sess) fate {
	key, f := s.key(keyHash), fields[w.rng.IntN(len(fields))]
	var n int64
	switch pick := w.rng.IntN(100); {
	case pick < 35:
		v := w.next.Add(1)
		o := w.attempt(func(ctx context.Context) (err error) { n, err = w.cl.HSet(ctx, key, f, encode(v)).Result(); return })
		o.arg, o.out = v, n
		w.note(o, fieldPart(key, f), vSet)
		return o.fate
	case pick < 45:
		return w.hsetAll(key)
	case pick < 65:
		var text string
		o := w.attempt(func(ctx context.Context) (err error) { text, err = w.cl.HGet(ctx, key, f).Result(); return })
		w.note(o, fieldPart(key, f), vGet).out = w.value(key, text)
		return o.fate
	case pick < 75:
		o := w.attempt(func(ctx context.Context) (err error) { n, err = w.cl.HDel(ctx, key, f).Result(); return })
		w.note(o, fieldPart(key, f), vDel).out = n
		return o.fate
	case pick < 78:
		o := w.attempt(func(ctx context.Context) error { return w.cl.Del(ctx, key).Err() })
		for _, f := range fields {
			w.note(o, fieldPart(key, f), vDel).out = noClaim
		}
		return o.fate
	}
	return w.hgetall(key)
}

func (w *worker) hsetAll(key string) fate {
	var args []any
	var values []int64
	for _, f := range fields {
		v := w.next.Add(1)
		values = append(values, v)
		args = append(args, f, encode(v))
	}
	o := w.attempt(func(ctx context.Context) error { return w.cl.HSet(ctx, key, args...).Err() })
	o.out = noClaim
	for i, f := range fields {
		w.note(o, fieldPart(key, f), vSet).arg = values[i]
	}
	return o.fate
}

// hgetall is a reading of every field: one that is missing is missing.
func (w *worker) hgetall(key string) fate {
	var all map[string]string
	o := w.attempt(func(ctx context.Context) (err error) { all, err = w.cl.HGetAll(ctx, key).Result(); return })
	for _, f := range fields {
		w.note(o, fieldPart(key, f), vGet).out = w.value(key, all[f])
	}
	return o.fate
}

func (w *worker) counter(s sess) fate {
	key := s.key(keyCounter)
	if w.rng.IntN(100) < 30 {
		return w.count(key)
	}
	var n int64
	o := w.attempt(func(ctx context.Context) (err error) { n, err = w.cl.Incr(ctx, key).Result(); return })
	w.note(o, key, vIncr).out = n
	return o.fate
}

func (w *worker) count(key string) fate {
	var text string
	o := w.attempt(func(ctx context.Context) (err error) { text, err = w.cl.Get(ctx, key).Result(); return })
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil && text != "" {
		w.odd = append(w.odd, fmt.Sprintf("counter %s holds %q", key, text))
	}
	w.note(o, key, vGet).out = n
	return o.fate
}

// maxList is about how long a list may grow before it is deleted.
const maxList = 40

func (w *worker) list(s sess) fate {
	key := s.key(keyList)
	switch pick := w.rng.IntN(100); {
	case pick < 60:
		v := w.next.Add(1)
		var n int64
		o := w.attempt(func(ctx context.Context) (err error) { n, err = w.cl.RPush(ctx, key, v).Result(); return })
		o.arg, o.out = v, n
		w.note(o, key, vPush)
		if n > maxList {
			return w.del(key)
		}
		return o.fate
	case pick < 97:
		return w.elements(key)
	}
	return w.del(key)
}

func (w *worker) elements(key string) fate {
	var list []string
	o := w.attempt(func(ctx context.Context) (err error) { list, err = w.cl.LRange(ctx, key, 0, -1).Result(); return })
	text := strings.Join(list, ",")
	if text != "" {
		text += ","
	}
	w.note(o, key, vRange).list = text
	return o.fate
}

// leased works on the key with a TTL. Deadlines fall into the round, or beyond it.
func (w *worker) leased(s sess) fate {
	key := s.key(keyLease)
	ttl := 100 + w.rng.Int64N(4000)
	var n int64
	switch pick := w.rng.IntN(100); {
	case pick < 35:
		v := w.next.Add(1)
		o := w.attempt(func(ctx context.Context) error {
			return w.cl.Set(ctx, key, encode(v), time.Duration(ttl)*time.Millisecond).Err()
		})
		o.arg, o.ttl, o.out = v, ttl, noClaim
		w.note(o, key, vSetPX)
		return o.fate
	case pick < 75:
		return w.get(key)
	case pick < 85:
		o := w.attempt(func(ctx context.Context) (err error) {
			n, err = w.cl.Do(ctx, "PEXPIRE", key, ttl).Int64()
			return
		})
		o.ttl, o.out = ttl, n
		w.note(o, key, vExpire)
		return o.fate
	case pick < 95:
		return w.deadline(key)
	}
	return w.del(key)
}

func (w *worker) deadline(key string) fate {
	var n int64
	o := w.attempt(func(ctx context.Context) (err error) { n, err = w.cl.Do(ctx, "PEXPIRETIME", key).Int64(); return })
	w.note(o, key, vExpireAt).out = n
	return o.fate
}
