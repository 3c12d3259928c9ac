package proxy_test

import (
	"context"
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// fillForStorm makes sessions of every kind of way back: small ones that one script restores, some of many keys, of DUMPs, and with a
// large hash that is built beside its place; in two databases, and keys of no session.
func (e *env) fillForStorm() (ids, all []string) {
	c := e.wire()
	add := func(args ...string) {
		c.ask(args...)
		all = append(all, args[1])
	}
	for i := range 24 {
		id := fmt.Sprint("m", i)
		ids = append(ids, "any@0/"+id)
		switch i % 4 {
		case 0:
			add("SET", "s:"+id+":str", "v")
			add("HSET", "s:"+id+":hash", "f", "v")
		case 1:
			for j := range 30 {
				add("SET", fmt.Sprintf("s:%s:%d", id, j), strings.Repeat("x", 50*j))
			}
		case 2:
			add("RPUSH", "s:"+id+":list", "a", "b")
			add("ZADD", "s:"+id+":zset", "1", "a")
			add("SADD", "s:"+id+":set", "a")
		case 3:
			add("SET", "s:"+id+":big", strings.Repeat("x", 600_000))
			args := []string{"HSET", "s:" + id + ":wide"}
			for j := range 3000 {
				args = append(args, fmt.Sprint("f", j), strings.Repeat("y", 300))
			}
			add(args...)
			add("RPUSH", "s:"+id+":list", "a")
		}
	}
	for i := range 5 {
		add("SET", fmt.Sprint("outside", i), "v")
	}
	other := e.wire()
	other.want("+OK\r\n", "SELECT", "1")
	for i := range 4 {
		other.want("+OK\r\n", "SET", fmt.Sprintf("s:o%d:k", i), strings.Repeat("x", 700_000))
		ids = append(ids, fmt.Sprintf("any@1/o%d", i))
	}
	e.admin("SYNC")
	slices.Sort(all)
	return ids, all
}

// moveAll evicts sessions and brings them back at random from several clients until the returned function is called, which says
// how many went.
func (e *env) moveAll(ids []string) (stop func() int64) {
	var over atomic.Bool
	var moves atomic.Int64
	var wg sync.WaitGroup
	for i := range 4 {
		w, rnd := e.wire(), rand.New(rand.NewSource(int64(i)))
		wg.Go(func() {
			for !over.Load() {
				verb := []string{"EVICT", "RESTORE"}[rnd.Intn(2)]
				reply, err := w.do("CREDPROXY", verb, ids[rnd.Intn(len(ids))])
				if err != nil {
					return
				}
				if verb == "EVICT" && reply == ":1\r\n" {
					moves.Add(1)
				}
			}
		})
	}
	return func() int64 {
		over.Store(true)
		wg.Wait()
		return moves.Load()
	}
}

// While sessions leave and come back all the time, and no key is made or deleted, DBSIZE says how many there are and KEYS names
// each once, whenever they are asked, by themselves and in a transaction.
func TestListingsDuringAStorm(t *testing.T) {
	e := newEnv(t, nil)
	ids, all := e.fillForStorm()
	stop := e.moveAll(ids)
	sorted := func(reply string) []string { return sortedKeys(parseReply(t, reply)) }
	c := e.wire()
	var asked, wrong int
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end) || asked < 50; asked++ {
		check := func(how, size string, keys []string) {
			if want := fmt.Sprintf(":%d\r\n", len(all)); size != want {
				t.Errorf("%d, %s: DBSIZE %q, want %q", asked, how, size, want)
				wrong++
			}
			if !slices.Equal(keys, all) {
				t.Errorf("%d, %s: KEYS lists %d keys of %d", asked, how, len(keys), len(all))
				wrong++
			}
		}
		check("alone", c.ask("DBSIZE"), sorted(c.ask("KEYS", "*")))
		c.want("+OK\r\n", "MULTI")
		for _, call := range []string{"SELECT 1", "DBSIZE", "SELECT 0", "DBSIZE", "KEYS *"} {
			c.want("+QUEUED\r\n", strings.Fields(call)...)
		}
		v := parseReply(t, c.ask("EXEC"))
		var keys []string
		for _, k := range v.Elems[4].Elems {
			keys = append(keys, string(k.Str))
		}
		slices.Sort(keys)
		check("in a transaction", fmt.Sprintf(":%d\r\n", v.Elems[3].Int), keys)
		if v.Elems[1].Int != 4 {
			t.Errorf("%d: DBSIZE of database 1 in a transaction: %d, want 4", asked, v.Elems[1].Int)
		}
		if wrong > 10 {
			break
		}
	}
	if n := stop(); n < 20 {
		t.Errorf("%d evictions: nothing was tried", n)
	} else {
		t.Logf("%d rounds, %d evictions", asked, n)
	}
}

// A Redis that was started again with its data: nobody has looked at the sessions yet, and no key counts twice.
func TestDBSizeOfSessionsNobodyKnows(t *testing.T) {
	e, dir := newRestartableEnv(t, nil)
	_, all := e.fillForStorm()
	e.evict("any@0/m0")
	must(t, e.direct.Save(context.Background()).Err())
	e.restartRedis(dir)
	want := fmt.Sprintf(":%d\r\n", len(all))
	c := e.wire()
	c.want(want, "DBSIZE")
	c.want("$1\r\nv\r\n", "GET", "s:m0:str")
	c.want(want, "DBSIZE")
}
