package proxy_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"credproxy/internal/testenv"
	"credproxy/proxy"
)

// A process without descriptors tells clients so at once, says what to do, and goes on as soon as it has some again.
func TestOutOfDescriptors(t *testing.T) {
	const spare = 40
	e := prepareEnv(t, nil)
	e.spareFiles, e.childLog = spare, filepath.Join(t.TempDir(), "log")
	addr, _ := e.startChild(50 * time.Millisecond)
	const refusal = "-ERR max number of clients reached\r\n"
	var in []*wire
	refused := 0
	for range spare + 20 {
		w := dialWire(t, addr)
		w.write("PING\r\n")
		switch reply, err := w.frame(); {
		case reply == "+PONG\r\n":
			in = append(in, w)
		case reply == refusal || err != nil: // a reset may overtake the text, as the PING was never read
			refused++
		default:
			t.Fatalf("client %d gets %q", len(in), reply)
		}
	}
	if refused < 10 || len(in) < spare/4 {
		t.Fatalf("%d clients were served and %d refused", len(in), refused)
	}
	in[0].want("+OK\r\n", "SET", "s:a:k", "v") // who is in is served
	w := dialWire(t, addr)
	w.wantReply(refusal)
	w.wantClosed()
	for _, w := range in {
		w.nc.Close()
	}
	testenv.Eventually(t, wirePatience, "a client is served again", func() bool {
		reply, err := dialWire(t, addr).do("GET", "s:a:k")
		return err == nil && reply == bulkReply("v")
	})
	log, err := os.ReadFile(e.childLog)
	must(t, err)
	if n := strings.Count(string(log), "raise its limit on open files (ulimit -n"); n != 1 {
		t.Errorf("the log says %d times what to do:\n%s", n, log)
	}
}

// Clients that send nothing are disconnected after idle_timeout, those that wait for something are not.
func TestIdleTimeout(t *testing.T) {
	e := newEnv(t, func(cfg *proxy.Config) { cfg.Exposure.IdleTimeout = time.Second })
	idle, sub, blocked := e.wire(), e.wire(), e.wire()
	idle.want("+PONG\r\n", "PING")
	sub.want(arrayReply(bulkReply("subscribe"), bulkReply("news"), ":1\r\n"), "SUBSCRIBE", "news")
	blocked.send("BLPOP", "list", "0")
	idle.wantClosed()
	late := e.wire()
	late.want("+OK\r\n", "SET", "k", "v")
	late.wantClosed() // twice the time has passed for the others
	must(t, e.direct.Publish(context.Background(), "news", "hello").Err())
	sub.wantReply(bulksReply("message", "news", "hello"))
	must(t, e.direct.RPush(context.Background(), "list", "x").Err())
	blocked.wantReply(bulksReply("list", "x"))
	sub.want(arrayReply(bulkReply("unsubscribe"), bulkReply("news"), ":0\r\n"), "UNSUBSCRIBE", "news")
	sub.wantClosed()
}

// A client that needs a password and gives none is disconnected after auth_timeout, whoever judges; one that gives it stays.
func TestAuthTimeout(t *testing.T) {
	for name, change := range map[string]func(*proxy.Config){
		"the proxy judges": ownUsers(map[string]string{"default": "sesame"}),
		"nobody judges":    func(*proxy.Config) {},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t, func(cfg *proxy.Config) {
				change(cfg)
				cfg.Exposure.AuthTimeout = time.Second
			})
			needed := e.cfg.Exposure.Passwords != nil
			silent, member := e.wire(), e.wire()
			if needed {
				member.want("+OK\r\n", "AUTH", "sesame")
				silent.want("-NOAUTH Authentication required.\r\n", "PING")
				silent.wantClosed()
			}
			time.Sleep(1100 * time.Millisecond) // past the timeout, for whom it must not concern
			member.want("+PONG\r\n", "PING")
			if !needed {
				silent.want("+PONG\r\n", "PING")
			}
		})
	}
}

// Wrong passwords are slowed down across connections; the right one still gets in.
func TestGuessingIsSlow(t *testing.T) {
	e := newEnv(t, ownUsers(map[string]string{"default": "sesame"}))
	began := time.Now()
	for range 25 {
		e.wire().wantPrefix("-WRONGPASS", "AUTH", "wrong")
	}
	if d := time.Since(began); d < time.Second {
		t.Errorf("25 guesses on 25 connections took %v, want 10 at once and the rest a tenth of a second each", d)
	}
	e.wire().want("+OK\r\n", "AUTH", "sesame")
}
