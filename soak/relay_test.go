package main

import (
	"bufio"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
)

// TestRelayCutsWithinReplies cuts many times and looks at the last bytes that come through.
func TestRelayCutsWithinReplies(t *testing.T) {
	const reply = "$4\r\nabcd\r\n"
	redis, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer redis.Close()
	go func() {
		for {
			conn, err := redis.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for in := bufio.NewReader(conn); ; {
					if _, err := in.ReadString('\n'); err != nil {
						return
					}
					_, _ = io.WriteString(conn, strings.Repeat(reply, 3))
				}
			}()
		}
	}()
	r, err := startRelay(redis.Addr().String(), newTally())
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	for range 50 {
		conn, err := net.Dial("tcp4", r.addr())
		if err != nil {
			t.Fatal(err)
		}
		whole := make([]byte, 3*len(reply))
		_, _ = io.WriteString(conn, "a\n")
		if _, err := io.ReadFull(conn, whole); err != nil || string(whole) != strings.Repeat(reply, 3) {
			t.Fatalf("before the cut: %q, %v", whole, err)
		}
		r.cutAll(rng)
		_, _ = io.WriteString(conn, "b\n")
		if rest, _ := io.ReadAll(conn); strings.HasSuffix(string(rest), "\n") || len(rest) >= len(whole) {
			t.Errorf("the connection was cut after %q", rest)
		}
		conn.Close()
		r.quiet()
	}
	if r.tally.get("connections cut within a reply") == 0 {
		t.Error("no connection was cut within a reply")
	}
	if err := r.close(); err != nil {
		t.Error(err)
	}
}
