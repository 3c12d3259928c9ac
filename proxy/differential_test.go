package proxy_test

import (
	"flag"
	"fmt"
	"math/rand"
	"strings"
	"sync"
	"testing"
	"time"
)

// The long checks take their size from the command line, behind -args:
//
//	go test ./proxy -run TestDifferential -timeout 0 -args -commands 1000000 -seed 7
//	go test ./proxy -run TestForeignReplies -timeout 0 -args -for 10m
var (
	seedFlag     = flag.Int64("seed", 0, "what random tests begin with, 0 for another one each time; the seed of a failure repeats it")
	commandsFlag = flag.Int("commands", 20_000, "how many commands TestDifferential runs, over both protocols")
	forFlag      = flag.Duration("for", 3*time.Second, "how long TestForeignReplies runs")
)

// testSeed is what a random test begins with.
func testSeed(t *testing.T) int64 {
	seed := *seedFlag
	if seed == 0 {
		seed = time.Now().UnixNano() % 1_000_000
	}
	t.Logf("to repeat: -args -seed %d", seed)
	return seed
}

// TestDifferential sends random commands to a bare Redis and to a proxy that keeps evicting the sessions they are about: every
// reply must be the same, and in the end everything that is there. In the calm runs evictions come between batches, so that a
// seed repeats them; in the others they come at any moment.
func TestDifferential(t *testing.T) {
	seed, commands := testSeed(t), *commandsFlag
	for _, proto := range []int{2, 3} {
		for _, calm := range []bool{true, false} {
			t.Run(fmt.Sprintf("RESP%d/calm=%v", proto, calm), func(t *testing.T) {
				t.Parallel()
				mine := seed*4 + int64(proto-2)*2 // not the same commands in every run
				if !calm {
					mine++
				}
				d := newDifferential(t, proto, mine)
				func() {
					if !calm {
						defer d.storm(mine)()
					}
					d.compare(commands/4, calm)
				}()
				d.finish()
			})
		}
	}
}

// differential is one run.
type differential struct {
	*rig
	t       *testing.T
	gen     *generator
	dual    *dual
	admin   *wire
	history [][]string
}

func newDifferential(t *testing.T, proto int, seed int64) *differential {
	t.Helper()
	r := newRig(t)
	return &differential{rig: r, t: t, gen: &generator{Rand: rand.New(rand.NewSource(seed)), prefix: "d"},
		dual: r.dial(t, proto), admin: r.dialProxy(t, 2)}
}

// victim names a session that may or may not be evictable.
func (d *differential) victim(rnd *rand.Rand) string {
	ids := d.gen.sessionIDs()
	if n := rnd.Intn(2*len(ids) + 1); n < len(ids) {
		return "any@0/" + ids[n]
	} else if n < 2*len(ids) {
		return "any@1/" + ids[n-len(ids)]
	}
	return "wa@0/" + d.gen.prefix + "w"
}

// compare runs n commands.
func (d *differential) compare(n int, evict bool) {
	d.t.Helper()
	d.gen.storm = !evict
	for done := 0; done < n; {
		batch := d.gen.batch()
		d.history = append(d.history, batch...)
		if diff := d.dual.run(batch, d.gen.Intn(2) == 0); diff != "" {
			d.t.Fatalf("after %d commands the reply differs: %s\nwhat led to it:\n%s", done, diff, d.about(batch))
		}
		done += len(batch)
		if evict && d.gen.Intn(2) == 0 {
			// Refused if it is not known; nothing else may be in its way between two batches.
			if reply := d.admin.ask("CREDPROXY", "EVICT", d.victim(d.gen.Rand)); reply[0] != ':' && !strings.Contains(reply, "not known") {
				d.t.Fatalf("EVICT: %s", reply)
			}
		}
	}
}

// finish checks that the run was worth something and compares what is there in the end.
func (d *differential) finish() {
	d.t.Helper()
	if n := d.stat("evictions"); n == 0 {
		d.t.Error("nothing was evicted")
	}
	if n := d.stat("restores"); n == 0 {
		d.t.Error("nothing was restored")
	}
	d.compareState(d.t, "*", "in the end")
}

// about returns the last commands that name a key of the batch.
func (d *differential) about(batch [][]string) string {
	keys := map[string]bool{}
	for _, args := range batch {
		for _, a := range args[1:] {
			keys[a] = strings.Contains(a, ":"+d.gen.prefix)
		}
	}
	var lines []string
	for i := len(d.history) - 1; i >= 0 && len(lines) < 60; i-- {
		for _, a := range d.history[i] {
			if keys[a] {
				lines = append(lines, clip(strings.Join(d.history[i], " ")))
				break
			}
		}
	}
	return "    " + strings.Join(lines, "\n    ") + "\n(latest first)"
}

// storm evicts without a pause until the returned function is called. What cannot go at the moment is passed over.
func (d *differential) storm(seed int64) (stop func()) {
	rnd := rand.New(rand.NewSource(seed + 1))
	quit := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-quit:
				return
			default:
			}
			if _, err := d.admin.do("CREDPROXY", "EVICT", d.victim(rnd)); err != nil {
				d.t.Errorf("EVICT: %v", err)
				return
			}
		}
	})
	return func() {
		close(quit)
		wg.Wait()
	}
}
