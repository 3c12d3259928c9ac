package proxy

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/redis/go-redis/v9"

	"credproxy/internal/session"
	"credproxy/proxy/upstream"
)

// meta keeps in Redis, beside the data, what must outlive the proxy: which sessions are resident (an entry with their heat)
// and which keys may be newer in Redis than in Postgres (marks).
//
//	M1  An entry exists only for a session all of whose keys were in Redis when it was written, in the run named by runKey;
//	    the eviction that takes the keys takes the entry in the same transaction. None is written while a key is poisoned.
//	    So a new proxy may believe the entries of the run that it finds, and none of another run.
//	M2  Heat is refreshed only where an entry is: a refresh that was under way during an eviction cannot bring one back.
//	M3  The mark of a key is in Redis before the first write after its last save, and goes only by comparison with the
//	    generation under which it was set.
type meta struct {
	control  *control
	sessions *sessions
	runs     *upstream.Runs
	log      hclog.Logger
	adopted  func(db int) bool // whether a database holds nothing that is not known

	mu    sync.Mutex // guards preps
	preps map[int]*prep
}

// prep is the preparation of one database for one run.
type prep struct {
	run  upstream.Run
	done chan struct{}
	err  error
}

var (
	// enterScript writes a residency entry, but only into the run that the caller means.
	enterScript = redis.NewScript(`#!lua flags=allow-oom
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3]) return 1`)
	// heatScript refreshes the entries that are there.
	heatScript = redis.NewScript(`for i = 1, #ARGV, 2 do
  if redis.call('HEXISTS', KEYS[1], ARGV[i]) == 1 then redis.call('HSET', KEYS[1], ARGV[i], ARGV[i+1]) end
end return 1`)
	// markScript sets marks also when Redis is out of memory and refuses the plain command: removals must go on then.
	markScript = redis.NewScript(`#!lua flags=allow-oom
redis.call('HSET', KEYS[1], unpack(ARGV)) return 1`)
	// unmarkScript removes marks whose generation is the given one.
	unmarkScript = redis.NewScript(`for i = 1, #ARGV, 2 do
  if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i+1] then redis.call('HDEL', KEYS[1], ARGV[i]) end
end return 1`)
)

func newMeta(c *control, s *sessions, runs *upstream.Runs, log hclog.Logger) *meta {
	return &meta{control: c, sessions: s, runs: runs, log: log, preps: map[int]*prep{}}
}

// prepare makes the entries in a database those of run: if they are of an earlier one, they go.
func (m *meta) prepare(ctx context.Context, db int, run upstream.Run) error {
	for {
		m.mu.Lock()
		p := m.preps[db]
		if p == nil || p.run < run {
			p = &prep{run: run, done: make(chan struct{})}
			m.preps[db] = p
			m.mu.Unlock()
			p.err = m.prepareNow(ctx, db)
			if p.err != nil {
				m.forget(db, p)
			}
			close(p.done)
			return p.err
		}
		m.mu.Unlock()
		select {
		case <-p.done:
			if p.err == nil {
				return nil
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (m *meta) forget(db int, p *prep) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.preps[db] == p {
		delete(m.preps, db)
	}
}

// forgetDBs makes the next load in those databases look at their entries anew.
func (m *meta) forgetDBs(hit func(db int) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for db := range m.preps {
		if hit(db) {
			delete(m.preps, db)
		}
	}
}

func (m *meta) prepareNow(ctx context.Context, db int) error {
	cl, id := m.control.db(db), m.runs.ID()
	same, err := m.sameRun(ctx, db)
	if err != nil || same {
		return err
	}
	keys := append(heatKeys(), adoptedKey)
	_, err = cl.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.Unlink(ctx, keys...)
		p.Set(ctx, runKey, id, 0)
		p.Set(ctx, formatKey, format, 0)
		if m.adopted(db) { // it was empty when the proxy came, or adopted: the next proxy need not scan it
			p.Set(ctx, adoptedKey, m.sessions.adoptionMark(id), 0)
		} else if m.sessions.off {
			p.Set(ctx, adoptedKey, offPending, 0) // O7
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("write metadata to Redis database %d: %w", db, err)
	}
	return nil
}

// sameRun reports whether the entries in a database are of the current run.
func (m *meta) sameRun(ctx context.Context, db int) (bool, error) {
	id, err := m.control.db(db).Get(ctx, runKey).Result()
	if err != nil && err != redis.Nil {
		return false, fmt.Errorf("read metadata from Redis database %d: %w", db, err)
	}
	return id == m.runs.ID(), nil
}

// enter writes the residency entry of a session that has just been restored.
func (m *meta) enter(ctx context.Context, r ref) error {
	id := m.sessions.id(r.it.Key)
	field := heatField(id)
	r.sh.Lock()
	value := encodeHeat(session.Heat{LastAccess: r.it.LastAccess, Hits: r.it.Hits, Bytes: r.it.Bytes})
	r.sh.Unlock()
	n, err := enterScript.Eval(ctx, m.control.db(id.DB), []string{runKey, heatKey(field)}, m.runs.ID(), field, value).Int()
	if err != nil {
		return fmt.Errorf("note residency in Redis: %w", err)
	}
	return m.entered(id, n)
}

// withhold takes away the entry that an earlier restore of the session may have written.
func (m *meta) withhold(ctx context.Context, id session.ID) error {
	field := heatField(id)
	if err := m.control.db(id.DB).HDel(ctx, heatKey(field), field).Err(); err != nil {
		return fmt.Errorf("withhold residency in Redis: %w", err)
	}
	return nil
}

// entered looks at what a script that writes an entry has answered.
func (m *meta) entered(id session.ID, n int) error {
	if n == 0 { // restarted, or emptied by the side door: the entries have to be prepared anew
		m.forgetDBs(func(db int) bool { return db == id.DB })
		return errStaleRun
	}
	return nil
}

// heatInterval is how often heat is written to Redis; a kill loses at most that much of it.
const heatInterval = 3 * time.Second

// flush writes the heat of sessions touched at or after since (unix milliseconds).
func (m *meta) flush(ctx context.Context, since int64) error {
	byBucket := map[int]map[string][]any{}
	m.sessions.table.Range(func(_ *shard, it *item) bool {
		if it.Value.state == resident && it.LastAccess >= since {
			id := m.sessions.id(it.Key)
			field := heatField(id)
			if byBucket[id.DB] == nil {
				byBucket[id.DB] = map[string][]any{}
			}
			b := heatKey(field)
			value := encodeHeat(session.Heat{LastAccess: it.LastAccess, Hits: it.Hits, Bytes: it.Bytes})
			byBucket[id.DB][b] = append(byBucket[id.DB][b], field, value)
		}
		return true
	})
	for db, buckets := range byBucket {
		_, err := m.control.db(db).Pipelined(ctx, func(p redis.Pipeliner) error {
			for b, args := range buckets {
				heatScript.Eval(ctx, p, []string{b}, args...)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("write access times to Redis: %w", err)
		}
	}
	return nil
}

// mark sets marks, given as key and generation alternately.
func (m *meta) mark(ctx context.Context, db int, pairs ...any) error {
	if planted("mark-missing") {
		return nil
	}
	err := m.control.db(db).HSet(ctx, dirtyMarks, pairs...).Err()
	if err != nil && strings.HasPrefix(err.Error(), "OOM") {
		err = markScript.Eval(ctx, m.control.db(db), []string{dirtyMarks}, pairs...).Err()
	}
	return err
}

// unmark removes marks, given as key and generation alternately.
func (m *meta) unmark(ctx context.Context, db int, pairs []any) error {
	const most = 2000 // arguments of one script call
	for len(pairs) > 0 {
		n := min(most, len(pairs))
		if err := unmarkScript.Eval(ctx, m.control.db(db), []string{dirtyMarks}, pairs[:n]...).Err(); err != nil {
			return fmt.Errorf("remove marks from Redis: %w", err)
		}
		pairs = pairs[n:]
	}
	return nil
}

// heatField names a session inside a database. A keyspace's name holds no '/'.
func heatField(id session.ID) string { return id.Keyspace + "/" + id.Name }

// heatTick is the resolution in which access times are kept in Redis, in milliseconds.
const heatTick = 100

// encodeHeat packs heat into 8 to 14 bytes: access time, hits and kilobytes as varints.
func encodeHeat(h session.Heat) string {
	b := binary.AppendUvarint(make([]byte, 0, 16), uint64(max(h.LastAccess, 0)/heatTick))
	b = binary.AppendUvarint(b, h.Hits)
	b = binary.AppendUvarint(b, uint64(max(h.Bytes, 0)>>10))
	return string(b)
}

func decodeHeat(text string) (h session.Heat, ok bool) {
	b := []byte(text)
	var v [3]uint64
	for i := range v {
		x, n := binary.Uvarint(b)
		if n <= 0 {
			return session.Heat{}, false
		}
		v[i], b = x, b[n:]
	}
	return session.Heat{LastAccess: int64(v[0]) * heatTick, Hits: v[1], Bytes: int64(v[2]) << 10}, true
}

// splitHeatField is the reverse of heatField.
func splitHeatField(db int, field string) (session.ID, bool) {
	space, name, ok := strings.Cut(field, "/")
	return session.ID{DB: db, Keyspace: space, Name: name}, ok
}
