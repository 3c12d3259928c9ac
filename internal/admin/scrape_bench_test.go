package admin

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

const manySessions = 100_000

// track makes the proxy know many sessions.
func (e *env) track() {
	e.t.Helper()
	pipe := e.client.Pipeline()
	var last *redis.Cmd
	for i := range manySessions {
		last = pipe.Do(context.Background(), "CREDPROXY", "TRACK", fmt.Sprintf("bots/5511%09d:12@s.whatsapp.net", i), 1000+i)
		if i%1000 == 999 {
			_, err := pipe.Exec(context.Background())
			must(e.t, err)
		}
	}
	must(e.t, last.Err())
	if n := e.stats()["sessions_tracked"]; n != fmt.Sprint(manySessions) {
		e.t.Fatalf("%s sessions", n)
	}
}

// The figure to keep: under 20 ms with 100,000 sessions.
func BenchmarkScrape(b *testing.B) {
	e := newEnv(b, options{})
	e.track()
	for b.Loop() {
		if status, body := e.get("/metrics"); status != 200 || len(body) < 5000 {
			b.Fatalf("status %d: %s", status, body)
		}
	}
}

// What clients feel of a scrape every second, with 100,000 sessions: their latencies must be those of the same load alone.
// Run it with -benchtime 20000x or more: an operation is one GET of each client.
func BenchmarkClientsWhileScraped(b *testing.B) {
	e := newEnv(b, options{})
	e.track()
	e.fill(50, 200)
	for _, scraped := range []bool{false, true, false, true} {
		b.Run(map[bool]string{false: "alone", true: "scraped"}[scraped], func(b *testing.B) {
			stop := func() {}
			if scraped {
				stop = e.scrape(time.Second)
			}
			all := e.readAll(b, 50)
			stop()
			slices.Sort(all)
			for _, p := range []int{50, 99} {
				b.ReportMetric(float64(all[(len(all)-1)*p/100].Microseconds()), fmt.Sprintf("p%d-us", p))
			}
			b.ReportMetric(float64(all[(len(all)-1)*999/1000].Microseconds()), "p99.9-us")
		})
	}
}

// readAll lets clients read their own session b.N times each and returns how long each read took.
func (e *env) readAll(b *testing.B, clients int) (all []time.Duration) {
	var wg sync.WaitGroup
	took := make([][]time.Duration, clients)
	for i := range clients {
		cl := redis.NewClient(&redis.Options{Addr: e.server.Addr().String(), Protocol: 2, MaxRetries: -1, DisableIdentity: true, PoolSize: 1})
		must(b, cl.Ping(context.Background()).Err())
		wg.Go(func() {
			defer cl.Close()
			for range b.N {
				start := time.Now()
				if err := cl.Get(context.Background(), fmt.Sprintf("wa:bot-%04d:creds", i)).Err(); err != nil {
					b.Error(err)
					return
				}
				took[i] = append(took[i], time.Since(start))
				time.Sleep(5 * time.Millisecond) // some 10,000 commands a second in all: what is measured is the wait, not the machine's limit
			}
		})
	}
	wg.Wait()
	return slices.Concat(took...)
}

// scrape asks for the metrics again and again until the returned function is called.
func (e *env) scrape(every time.Duration) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			if resp, err := http.Get(e.url + "/metrics"); err == nil {
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
	return func() { cancel(); <-done }
}
