package proxy_test

import (
	"bufio"
	"cmp"
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"credproxy/internal/resp"
	"credproxy/internal/testenv"
)

var accessesFlag = flag.Int("accesses", 50_000, "how many accesses TestOrderAgainstAModel makes")

// span is between when an access was sent and when its reply was there, in unix milliseconds. The proxy's clock reads one of them.
type span struct{ from, to int64 }

// orderModel knows of every session when it was last used.
type orderModel struct {
	mu   sync.Mutex
	last map[int]span
	n    int
}

// used takes the later of two accesses: of several clients, nobody knows whose came last.
func (m *orderModel) used(sessions []int, at span) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, i := range sessions {
		was := m.last[i]
		m.last[i] = span{max(was.from, at.from), max(was.to, at.to)}
	}
	m.n += len(sessions)
}

// access reads n random sessions, chosen by pick, over a connection of its own, 250 in a write. It ends early if the proxy does.
func (m *orderModel) access(addr string, n int, pick func() int) error {
	const batch = 250
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer nc.Close()
	in, replies := bufio.NewReaderSize(nc, 1<<14), make([]byte, len(":1\r\n")*batch)
	for ; n > 0; n -= batch {
		var out []byte
		var sessions []int
		for range min(batch, n) {
			sessions = append(sessions, pick())
			out = resp.AppendCommand(out, "EXISTS", orderKey(sessions[len(sessions)-1]))
		}
		from := time.Now().UnixMilli()
		_, err := nc.Write(out)
		if err == nil {
			_, err = io.ReadFull(in, replies[:4*len(sessions)])
		}
		if err != nil { // some of them may have been used, at a time when the proxy lived
			m.used(sessions, span{0, time.Now().UnixMilli()})
			return nil
		}
		if text := string(replies[:4*len(sessions)]); text != strings.Repeat(":1\r\n", len(sessions)) {
			return fmt.Errorf("a session is not there: %q", text)
		}
		m.used(sessions, span{from, time.Now().UnixMilli()})
	}
	return nil
}

// storm is access by four clients at once, of some sessions that stand side by side; the first of them is one of so many.
func (m *orderModel) storm(t *testing.T, addr string, n, among, width int, rnd *rand.Rand) {
	var wg sync.WaitGroup
	first := rnd.IntN(among)
	for range 4 {
		mine := rand.New(rand.NewPCG(rnd.Uint64(), 0))
		wg.Go(func() {
			if err := m.access(addr, n/4, func() int { return (first + mine.IntN(width)) % orderSessions }); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// orderSessions is how many sessions there are.
const orderSessions = 3600

func orderKey(i int) string { return fmt.Sprintf("s:r%d:k", i) }

// heatTick is the resolution of the access times in Redis, in milliseconds.
const heatTick = 100

// flushed reads from Redis when each session was last used, as far as it has been written there.
func (e *env) flushed() map[string]int64 {
	e.t.Helper()
	ctx := context.Background()
	at := map[string]int64{}
	for _, bucket := range e.direct.Keys(ctx, "credproxy:2:heat:*").Val() {
		for id, text := range e.direct.HGetAll(ctx, bucket).Val() {
			n, _ := binary.Uvarint([]byte(text))
			at[id] = int64(n) * heatTick
		}
	}
	return at
}

// A proxy serves random accesses, is killed in the middle of them, and its successor goes on. Then memory runs short, and those that
// leave are exactly the least recently used: none of them was used after one that stays, by the clock's resolution (1 ms; 100 ms for what
// was read back from Redis). What was used after the last access times were written, which is every 3 s, may count as last
// used at any time between the last access that was written and the last one before the kill.
func TestOrderAgainstAModel(t *testing.T) {
	const sessions, size, budget = orderSessions, 3000, 24 << 20
	const rounds = 16
	seed := uint64(*seedFlag)
	if seed == 0 {
		seed = rand.Uint64() >> 1
	}
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	e := prepareEnv(t, smallBudget(budget))
	ctx := context.Background()
	addr, kill := e.startChild(20 * time.Millisecond)
	model := orderModel{last: map[int]span{}}
	for i := range sessions {
		from := time.Now().UnixMilli()
		must(t, e.client.Set(ctx, orderKey(i), payload(i, size), 0).Err())
		model.used([]int{i}, span{from, time.Now().UnixMilli()})
	}
	e.admin("SYNC")
	for range rounds {
		model.storm(t, addr, *accessesFlag/2/rounds, sessions, sessions/4, rnd)
		nextTick(t)
	}
	testenv.Eventually(t, 30*time.Second, "access times in Redis", func() bool {
		at := e.flushed()
		for i, s := range model.last {
			if at[fmt.Sprintf("any/r%d", i)] < s.from/heatTick*heatTick {
				return false
			}
		}
		return true
	})
	before := maps.Clone(model.last)

	half := make(chan struct{})
	go func() {
		defer close(half)
		model.storm(t, addr, *accessesFlag/4, sessions, sessions/10, rnd)
	}()
	testenv.Eventually(t, time.Minute, "half of the accesses of a storm", func() bool {
		model.mu.Lock()
		defer model.mu.Unlock()
		return model.n-sessions > *accessesFlag*5/8
	})
	kill()
	<-half
	for i, s := range model.last { // what of this storm was written nobody knows
		model.last[i] = span{before[i].from / heatTick * heatTick, s.to}
	}

	addr, _ = e.startChild(20 * time.Millisecond)
	for left := *accessesFlag - model.n + sessions; left > 0; left -= *accessesFlag / 32 {
		model.storm(t, addr, min(left, *accessesFlag/32), sessions/2, sessions/8, rnd)
	}
	e.admin("SYNC")
	for i := range 2 { // the oldest that stays was last used before the kill at first, then after it
		e.ballast(fmt.Sprint("ballast", i), budget*81/100)
		testenv.Eventually(t, 30*time.Second, "eviction", func() bool { e.admin("CHECK"); return e.usedMemory() < budget*8/10 })
		e.compareOrder(&model, sessions)
	}
}

// ballast fills Redis up to so many bytes. It does so in small pieces: Redis keeps a second buffer as large as a large value for a while.
func (e *env) ballast(name string, until int64) {
	e.t.Helper()
	const piece = 8 << 10
	pipe := e.direct.Pipeline()
	for n := until - e.usedMemory(); n > 0; n -= piece {
		pipe.Set(context.Background(), fmt.Sprint(name, ":", n), make([]byte, piece), 0)
	}
	_, err := pipe.Exec(context.Background())
	must(e.t, err)
}

// compareOrder compares who was evicted with the model.
func (e *env) compareOrder(m *orderModel, sessions int) {
	e.t.Helper()
	states := e.states()
	var out, in []int
	for i := range sessions {
		switch state := states[fmt.Sprintf("any/r%d", i)]; state {
		case "evicted":
			out = append(out, i)
		case "resident":
			in = append(in, i)
		default:
			e.t.Errorf("session %d is %s", i, state)
		}
	}
	if len(out) < 50 || len(in) < 50 {
		e.t.Fatalf("%d sessions were evicted, %d are resident: that shows little", len(out), len(in))
	}
	oldest := slices.MinFunc(in, func(a, b int) int { return cmp.Compare(m.last[a].to, m.last[b].to) })
	wrong, doubtful, latest := 0, 0, int64(math.MinInt64)
	for _, i := range out {
		latest = max(latest, m.last[i].from)
		if m.last[i].from > m.last[oldest].to {
			wrong++
		}
		if m.last[i].to >= m.last[oldest].to {
			doubtful++
		}
	}
	e.t.Logf("%d accesses; of %d sessions %d were evicted; of those, %d have an access time too vague to be told from the oldest that stayed",
		m.n-sessions, sessions, len(out), doubtful)
	if wrong > 0 {
		e.t.Errorf("%d sessions were evicted that were used after one that stayed, by up to %d ms", wrong, latest-m.last[oldest].to)
	}
}
