package clients

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"
)

// stormers is how many sessions are being evicted at a time; one that is in use is waited for.
const stormers = 4

// storm evicts whatever is resident, again and again.
type storm struct {
	t     *testing.T
	admin *redis.Client
	wg    sync.WaitGroup
}

// startStorm starts evicting; calm ends it, as does the test's end.
func startStorm(t *testing.T, admin *redis.Client) (calm func()) {
	ctx, cancel := context.WithCancel(t.Context())
	s := &storm{t: t, admin: admin}
	ids := make(chan string)
	s.wg.Go(func() { s.list(ctx, ids) })
	for range stormers {
		s.wg.Go(func() { s.evict(ctx, ids) })
	}
	calm = func() {
		cancel()
		s.wg.Wait()
	}
	t.Cleanup(calm)
	return calm
}

// list offers the resident sessions until ctx ends.
func (s *storm) list(ctx context.Context, ids chan<- string) {
	defer close(ids)
	for ctx.Err() == nil {
		sessions, err := s.admin.Do(ctx, "CREDPROXY", "SESSIONS", "COUNT", "1000").Slice()
		if err != nil {
			s.failed(ctx, err)
			return
		}
		for _, one := range sessions {
			pairs := one.(map[any]any)
			if pairs["state"] != "resident" {
				continue
			}
			select {
			case ids <- pairs["keyspace"].(string) + "/" + pairs["id"].(string):
			case <-ctx.Done():
				return
			}
		}
	}
}

// evict takes out what it is offered. A refusal is no failure: a client wants the session just now, or has deleted it; what an
// operator would have to know is in the log, which the audit reads.
func (s *storm) evict(ctx context.Context, ids <-chan string) {
	for id := range ids {
		err := s.admin.Do(ctx, "CREDPROXY", "EVICT", id).Err()
		if refusal := redis.Error(nil); err != nil && !errors.As(err, &refusal) {
			s.failed(ctx, err)
		}
	}
}

func (s *storm) failed(ctx context.Context, err error) {
	if ctx.Err() == nil {
		s.t.Errorf("evict: %v", err)
	}
}
