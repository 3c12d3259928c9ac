package proxy

import (
	"fmt"
	"net"
	"testing"
	"time"

	"credproxy/internal/resp"
	"credproxy/keyspace"
	"credproxy/lru"
	"credproxy/proxy/upstream"
)

// endless is a client that has always sent one more pipeline.
type endless struct {
	net.Conn
	packets [][]byte
	next    int
}

func (e *endless) TryRead(p []byte) (int, error) {
	e.next++
	return copy(p, e.packets[e.next%len(e.packets)]), nil
}

func (e *endless) TryWrite(p []byte) (int, error) { return len(p), nil }

// BenchmarkLane is what a lane does itself for one command, but for replies: no system call, and no Redis. ns/op is for one command of
// pipelines 16 deep, by 50 clients over 1,000 sessions.
func BenchmarkLane(b *testing.B) {
	for _, name := range []string{"GET", "SET"} {
		b.Run(name, func(b *testing.B) {
			const depth = 16
			seats := benchSeats(b, name, depth)
			b.ReportAllocs()
			done := 0
			for i := 0; b.Loop(); i++ {
				if i%depth != 0 { // one loop is one command, so that ns/op is for one
					continue
				}
				st := seats[done%len(seats)]
				done++
				st.pull()
				if !st.gather() || len(st.c.g.entries) != depth {
					b.Fatalf("a group of %d", len(st.c.g.entries))
				}
				st.c.tally()
				req, n, err := st.c.takeOff()
				if len(req) == 0 || n != depth || err != nil {
					b.Fatal(len(req), n, err)
				}
				st.c.land()
				st.c.finishAll()
				st.c.g.reset()
			}
		})
	}
}

// benchSeats makes 50 clients in a lane, whose keys' marks stand in Redis.
func benchSeats(b *testing.B, name string, depth int) []*seat {
	const sessions = 1000
	s, err := New(Config{Keyspaces: benchSpecs(), Memory: MemoryConfig{Budget: lru.Budget{Max: 1 << 30, Threshold: 80, Target: 70}}}, nil)
	if err != nil {
		b.Fatal(err)
	}
	s.policy.room.unsampled()
	s.sessions = tracked(b, sessions)
	keys, choice := newKeyWriter(), picks(false, sessions, 1<<16)
	s.sessions.table.Range(func(sh *shard, it *item) bool {
		it.Value.run = s.runs.Current()
		return true
	})
	for i := range uint32(sessions) {
		key := keys.key(i)
		identity, _ := s.sessions.match(nil, 0, key)
		r, _ := s.sessions.tryEnter(ref{}, identity, s.runs.Current(), 1)
		r.marked(key, s.sessions.beginWrite(r, key, s.saver))
		s.sessions.endWrite(r, writeScope{key: key, scope: keyspace.Whole}, &s.saver.queue)
	}
	seats := make([]*seat, 50)
	for i := range seats {
		sock := &endless{}
		for range 16 {
			var packet []byte
			for range depth {
				key := keys.key(choice[0])
				choice = choice[1:]
				if args := []string{name, string(key)}; name == "GET" {
					packet = resp.AppendCommand(packet, args...)
				} else {
					packet = resp.AppendCommand(packet, append(args, fmt.Sprintf("%0128d", i))...)
				}
			}
			sock.packets = append(sock.packets, packet)
		}
		seats[i] = laneSeat(s, sock)
	}
	return seats
}

// laneSeat is a client's seat in a lane that has no Redis: groups can be gathered, not sent. Its replies were small so far.
func laneSeat(s *Server, sock *endless) *seat {
	l := &lane{s: s, at: time.Now(), names: keyspace.Latest{Table: s.table}}
	c := &client{s: s, conn: resp.NewConn(sock, resp.DefaultLimits()), call: upstream.NewCall(), more: maxReads - firstGroup}
	c.conn.Ride(func() (bool, error) { return false, nil })
	c.conn.SetAuthenticated(true)
	c.seat = &seat{l: l, c: c, line: &upstream.Conn{}, riding: true}
	return c.seat
}
