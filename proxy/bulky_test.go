package proxy_test

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"credproxy/internal/testenv"
)

// repeated returns n times the same command.
func repeated(n int, args ...string) (batch [][]string) {
	for range n {
		batch = append(batch, args)
	}
	return batch
}

// TestPipelinesOfLargeReplies: whatever is asked for in one go, the replies are Redis's, in its order, also where they are too large to
// be kept and their commands are sent again.
func TestPipelinesOfLargeReplies(t *testing.T) {
	e := newEnv(t, nil)
	bare := testenv.Redis(t)
	big := func(tag string, n int) string { return strings.Repeat(tag, n/len(tag)) }
	list, stream := []string{"RPUSH", "s:a:l"}, [][]string{} // what Redis has an order for
	for i := range 400 {
		list = append(list, big("list", 1000))
		stream = append(stream, []string{"XADD", "s:a:x", fmt.Sprint("1-", i+1), "field", big("stream", 1000)})
	}
	join := func(parts ...[][]string) (all [][]string) {
		for _, p := range parts {
			all = append(all, p...)
		}
		return all
	}
	large, small := []string{"GET", "s:a:large"}, []string{"GET", "s:b:small"}
	set := func(key, value string) [][]string { return [][]string{{"SET", key, value}} }
	many := repeated(300, small...) // whose replies let the proxy expect small ones
	batches := [][][]string{
		join(set("s:a:large", big("one", 300_000)), set("s:a:huge", big("huge", 3<<20)), set("s:b:small", "small"), stream, [][]string{list}),
		join(many, repeated(40, large...), set("s:a:large", big("two", 300_000)), repeated(9, large...), many[:20]),
		join(many, [][]string{{"GET", "s:a:huge"}}, many[:40]),
		join(many, repeated(5, "GET", "s:a:huge"), [][]string{{"DEL", "s:a:large"}}, repeated(3, large...), repeated(3, "GET", "s:a:huge")),
		join(many, set("s:a:large", big("three", 900_000)), repeated(10, large...), [][]string{{"GET", "s:a:l"}, {"NOSUCH"}, {"GET"}, {"ECHO", "x"}}, repeated(3, large...)),
		join(many, repeated(9, "LRANGE", "s:a:l", "0", "-1"), [][]string{{"LSET", "s:a:l", "0", "new"}}, repeated(2, "LRANGE", "s:a:l", "0", "-1"), repeated(5, "XRANGE", "s:a:x", "-", "+")),
		join(many, [][]string{{"MGET", "s:a:huge", "s:b:small", "none", "s:a:large"}, {"MULTI"}, large, large, {"EXEC"}}, repeated(3, large...)),
		join(many, repeated(20, large...), [][]string{{"CLIENT", "REPLY", "SKIP"}, {"GET", "s:a:huge"}, {"ECHO", "after"}, {"GET", "s:a:huge"}}),
		join([][]string{{"CLIENT", "REPLY", "OFF"}, {"GET", "s:a:huge"}}, repeated(9, large...), [][]string{{"CLIENT", "REPLY", "ON"}, {"ECHO", "on"}}),
		join([][]string{{"WATCH", "s:a:huge"}, {"GET", "s:a:huge"}, {"MULTI"}, {"GET", "s:a:huge"}, {"EXEC"}}, repeated(50, "GET", "s:a:huge")),
	}
	unanswered := map[int]int{7: 2, 8: 11}
	for _, proto := range []string{"2", "3"} {
		t.Run("RESP"+proto, func(t *testing.T) {
			must(t, redisClient(t, bare.Addr(), "").FlushAll(context.Background()).Err())
			e.client.Del(context.Background(), "s:a:large", "s:a:huge", "s:b:small", "s:a:l", "s:a:x")
			through, direct := e.wire(), dialWire(t, bare.Addr())
			for _, c := range []*wire{through, direct} {
				c.send("HELLO", proto)
				c.reply()
			}
			for i, batch := range batches {
				var sent sync.WaitGroup
				for _, c := range []*wire{through, direct} {
					sent.Go(func() { c.writeAll(batch) })
				}
				for j := range len(batch) - unanswered[i] {
					if got, want := through.next(), direct.next(); got != want {
						t.Fatalf("pipeline %d, reply %d: %d bytes, %.60q, want %d bytes, %.60q", i, j, len(got), got, len(want), want)
					}
				}
				sent.Wait()
				e.admin("SYNC")
				e.client.Do(context.Background(), "CREDPROXY", "EVICT", "any/a")
			}
		})
	}
}

// TestLargeRepliesNeverGoBack: what is sent again is read again. Nobody may see an older value behind a newer one, or two values in one.
func TestLargeRepliesNeverGoBack(t *testing.T) {
	e := newEnv(t, nil)
	value := func(n int) string { return strings.Repeat(fmt.Sprintf("%08d", n), 40_000) }
	writer := e.wire()
	writer.want("+OK\r\n", "SET", "s:a:k", value(0))
	stop, end := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			c, last := e.wire(), 0
			for stop.Err() == nil {
				c.writeAll(repeated(20, "STRLEN", "s:a:k")) // small ones, for larger groups
				for range 20 {
					c.next()
				}
				c.writeAll(repeated(8, "GET", "s:a:k"))
				for range 8 {
					_, text, _ := strings.Cut(c.next(), "\r\n")
					text = strings.TrimSuffix(text, "\r\n")
					n, err := strconv.Atoi(text[:8])
					if err != nil || text != value(n) || n < last {
						t.Errorf("version %d after %d, %d bytes, %v", n, last, len(text), err)
						return
					}
					last = n
				}
			}
		})
	}
	for n := 1; n <= 60; n++ {
		writer.want("+OK\r\n", "SET", "s:a:k", value(n))
		if n%20 == 0 {
			e.client.Do(context.Background(), "CREDPROXY", "EVICT", "any/a") // not while it is busy
		}
	}
	end()
	wg.Wait()
}

// TestLeavesInMidReply: a client that goes while a large reply is on its way leaves nothing behind.
func TestLeavesInMidReply(t *testing.T) {
	e := newEnv(t, nil)
	value := strings.Repeat("0123456789abcdef", 12<<20/16)
	e.wire().want("+OK\r\n", "SET", "s:a:k", value)
	e.settled()
	for range 5 {
		c := e.wire()
		c.writeAll(repeated(6, "GET", "s:a:k"))
		if _, err := c.nc.Read(make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
		must(t, c.nc.Close())
	}
	testenv.Eventually(t, wirePatience, "nobody is busy with the session", func() bool {
		n, err := e.client.Do(context.Background(), "CREDPROXY", "EVICT", "any/a").Int64()
		return err == nil && n == 1
	})
	c := e.wire()
	for range 3 {
		c.want(bulkReply(value), "GET", "s:a:k")
		c.want(bulkReply("x"), "ECHO", "x")
	}
}

// TestLargeReplyCutOff: when Redis's connection is lost in the middle of a reply, the client gets nothing behind the part that it has: not
// the replies that follow, which it would take for the rest of the value.
func TestLargeReplyCutOff(t *testing.T) {
	e := newEnv(t, nil)
	ctx := context.Background()
	value := strings.Repeat("0123456789abcdef", 64<<20/16)
	must(t, e.direct.Set(ctx, "k", value, 0).Err())
	must(t, e.direct.Set(ctx, "behind", "another value", 0).Err())
	c := e.wire()
	c.writeAll([][]string{{"GET", "k"}, {"GET", "behind"}, {"GET", "k"}, {"ECHO", "behind"}})
	begun := make([]byte, 1000) // now what came on the shared connection has been dropped, and the reply is on its way
	must(t, c.nc.SetReadDeadline(time.Now().Add(wirePatience)))
	if _, err := io.ReadFull(c.nc, begun); err != nil {
		t.Fatal(err)
	}
	last, same := "", 0
	testenv.Eventually(t, wirePatience, "a connection of Redis's waits for the client", func() bool {
		id, held := e.fullest()
		if now := fmt.Sprint(id, held); held < 16<<20 || now != last {
			last, same = now, 0
			return false
		}
		same++
		return same == 10 && e.direct.Do(ctx, "CLIENT", "KILL", "ID", id).Err() == nil
	})
	must(t, c.nc.SetReadDeadline(time.Now().Add(wirePatience)))
	rest, err := io.ReadAll(c.nc)
	got := append(begun, rest...)
	if want := bulkReply(value); len(got) >= len(want) || !strings.HasPrefix(want, string(got)) {
		t.Errorf("%d bytes of %d, the last %q (%v)", len(got), len(want), got[max(0, len(got)-60):], err)
	}
}

// fullest returns the connection for which Redis holds most, and how many bytes.
func (e *env) fullest() (id string, held int) {
	for _, line := range strings.Split(e.direct.ClientList(context.Background()).Val(), "\n") {
		var n int
		if _, rest, ok := strings.Cut(line, " omem="); ok {
			fmt.Sscan(rest, &n)
		}
		if n > held {
			name, _, _ := strings.Cut(line, " ")
			id, held = strings.TrimPrefix(name, "id="), n
		}
	}
	return id, held
}
