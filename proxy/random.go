package proxy

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"credproxy/internal/resp"
	"credproxy/internal/session"
	"credproxy/keyspace"
)

// RANDOMKEY draws from both stores. Each store is chosen as often as it has keys, and what is drawn is thrown back if it is no
// answer: one of the proxy's own keys in Redis, or a key in Postgres that Redis has as well. So every key comes up about
// equally often, and since Postgres has hardly a key more than both together show, half of the draws are answers at worst.

const (
	// drawTries is how often is drawn before any key will do.
	drawTries = 64
	// drawPage is among how many neighbours a stored key is drawn: positions have gaps, and behind a gap it would come up
	// more often than others.
	drawPage = 64
	// extentTimeout bounds the question how many keys Postgres has. Without an answer Redis's keys do.
	extentTimeout = time.Second
)

// extents remembers how many keys Postgres has, by database. To count them takes as long as there are many, so that is done again
// only after a hundred times as long.
type extents struct {
	mu   sync.Mutex // guards byDB
	byDB map[int]knownExtent
}

type knownExtent struct {
	session.Extent
	until time.Time
}

// extent returns about what Postgres has of a database, nothing if it cannot be asked.
func (s *Server) extent(ctx context.Context, db int) session.Extent {
	s.extents.mu.Lock()
	known := s.extents.byDB[db]
	s.extents.mu.Unlock()
	start := time.Now()
	if start.Before(known.until) {
		return known.Extent
	}
	ctx, cancel := context.WithTimeout(ctx, extentTimeout)
	defer cancel()
	x, err := s.store.Extent(ctx, db, nowMilli())
	if err != nil {
		s.log.Debug("count keys in Postgres", "error", err)
		x = session.Extent{}
	}
	end := time.Now()
	s.extents.mu.Lock()
	defer s.extents.mu.Unlock()
	if s.extents.byDB == nil {
		s.extents.byDB = map[int]knownExtent{}
	}
	s.extents.byDB[db] = knownExtent{x, end.Add(max(time.Second, 100*end.Sub(start)))}
	return x
}

// random answers RANDOMKEY, Redis's own draw given.
func (l *listing) random(ctx context.Context, v resp.Value) ([]byte, error) {
	key, err := l.draw(ctx, v)
	if err != nil || key != "" {
		return resp.AppendBulkString(nil, key), err
	}
	if other, err := anyKey(ctx, l.c.s.control.db(l.db)); err != nil || other != nil {
		return resp.AppendBulk(nil, other), err
	}
	answer := resp.AppendNull(nil, l.c.ident.Proto)
	err = l.stored(ctx, anyEntry, func(e *session.Entry) bool {
		answer = resp.AppendBulkString(nil, e.Key)
		return false
	})
	return answer, err
}

// draw draws until there is an answer, "" if there is none.
func (l *listing) draw(ctx context.Context, v resp.Value) (string, error) {
	s, db := l.c.s, l.c.s.control.db(l.db)
	n, err := db.DBSize(ctx).Result()
	if err != nil {
		return "", unavailableError{fmt.Errorf("count keys: %w", err)}
	}
	x := s.extent(ctx, l.db)
	first := v // is the draw of the user's own connection
	for range drawTries {
		if n+x.Keys == 0 {
			break
		}
		if rand.Int64N(n+x.Keys) >= n {
			key, err := l.drawStored(ctx, x)
			if err != nil {
				x.Keys = 0 // Redis's keys do
			}
			if key != "" {
				return key, nil
			}
			continue
		}
		key := string(first.Str)
		if first = (resp.Value{}); key == "" {
			if key, err = db.RandomKey(ctx).Result(); err != nil && !errors.Is(err, redis.Nil) {
				return "", unavailableError{fmt.Errorf("ask for another key: %w", err)}
			}
		}
		if key != "" && !keyspace.Own([]byte(key)) {
			return key, nil
		}
	}
	return "", nil
}

// drawStored draws a stored key; "": it is one that Redis has.
func (l *listing) drawStored(ctx context.Context, x session.Extent) (string, error) {
	s := l.c.s
	watch := s.moves.beginWatch()
	defer watch.close()
	after := x.First - 1 + rand.Int64N(x.Last-x.First+1)
	page, err := s.store.Keys(ctx, l.db, after, drawPage, nowMilli())
	if rest := drawPage - len(page); err == nil && rest > 0 { // those at the end have as many neighbours as others
		var begin []session.Entry
		begin, err = s.store.Keys(ctx, l.db, 0, rest, nowMilli())
		for _, e := range begin {
			if e.Pos <= after {
				page = append(page, e)
			}
		}
	}
	if err != nil || len(page) == 0 {
		return "", err
	}
	i := rand.IntN(len(page))
	found, err := s.missed(ctx, l.db, page[i:i+1], l.since, "", anyEntry)
	if err != nil || len(found) == 0 || s.outdated(found[0], watch) {
		return "", err
	}
	return found[0].Key, nil
}

// anyKey returns some key in Redis that is not the proxy's, nil if there is none.
func anyKey(ctx context.Context, db *redis.Client) ([]byte, error) {
	for cursor := uint64(0); ; {
		keys, next, err := db.Scan(ctx, cursor, "", 1000).Result()
		if err != nil {
			return nil, unavailableError{fmt.Errorf("look for a key: %w", err)}
		}
		for _, key := range keys {
			if !keyspace.Own([]byte(key)) {
				return []byte(key), nil
			}
		}
		if cursor = next; cursor == 0 {
			return nil, nil
		}
	}
}
