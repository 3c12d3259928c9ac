package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"credproxy/internal/human"
)

// syncEvery is how often the number of unsaved keys is asked for while they are saved.
const syncEvery = 500 * time.Millisecond

// askSync returns when everything that was changed before it is in Postgres, or when --timeout is over. The proxy itself waits
// no longer than restore.wait at a time.
func askSync(ctx context.Context, r *remote, _ []string) error {
	watching, stop := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		r.watchSync(watching)
	}()
	saved, err := r.sync(ctx)
	stop()
	<-watched
	if err != nil {
		return r.unsaved(err)
	}
	return r.showCount("saved_keys", saved)
}

func (r *remote) sync(ctx context.Context) (int64, error) {
	for {
		reply, err := r.do(ctx, "SYNC")
		if n, ok := reply.(int64); ok {
			return n, nil
		}
		if err == nil {
			return 0, fmt.Errorf("read reply: the proxy answered with %T, not a number", reply)
		}
		if !strings.Contains(err.Error(), "TRYAGAIN") {
			return 0, err
		}
		select { // Postgres may be away: no reason to ask again at once
		case <-ctx.Done():
			return 0, err
		case <-time.After(syncEvery):
		}
	}
}

// watchSync shows how much is left, until ctx ends.
func (r *remote) watchSync(ctx context.Context) {
	saving, adopting := newProgress(r.log, "saving"), newProgress(r.log, "adopting")
	defer saving.end()
	defer adopting.end()
	most := int64(0)
	tick := time.NewTicker(syncEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		st, err := r.stats(ctx)
		if err != nil {
			continue // SYNC says what is wrong
		}
		left := int64(number(st, "dirty_keys"))
		most = max(most, left)
		if left > 0 || number(st, "adoption_pending") == 0 {
			saving.set(most-left, most)
			continue
		}
		adopting.set(int64(number(st, "adoption_keys")), int64(number(st, "adoption_keys_total")))
	}
}

// unsaved adds to an error how much is not saved, if that can be had.
func (r *remote) unsaved(err error) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	st, failed := r.stats(ctx)
	if failed != nil {
		return err
	}
	return fmt.Errorf("%s keys are not saved: %w", human.Count(int64(number(st, "dirty_keys"))), err)
}
