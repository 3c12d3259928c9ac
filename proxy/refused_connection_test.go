package proxy

import (
	"context"
	"strings"
	"testing"
	"time"

	"credproxy/internal/session"
	"credproxy/internal/testenv"
	"credproxy/proxy/upstream"
)

// TestRefusedConnectionIsNoAnswer: a Redis that refuses the fresh connection over which keys are to be restored or read, here because
// it is busy with a script, has not said that they are restored, nor that they are not there.
func TestRefusedConnectionIsNoAnswer(t *testing.T) {
	server := testenv.Redis(t, "--busy-reply-threshold", "1")
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	open := func() *control {
		c := newControl(UpstreamConfig{Address: server.Addr()}, &upstream.Dialer{Address: server.Addr()}, upstream.NewRuns(func(upstream.Run, string) {}))
		t.Cleanup(c.close)
		return c
	}
	busy, killer, fresh := open(), open(), open()
	if err := killer.db(0).Ping(ctx).Err(); err != nil { // connects while it can
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- busy.db(0).Eval(ctx, "while true do end", nil).Err() }()
	testenv.Eventually(t, 10*time.Second, "Redis is busy", func() bool {
		err := killer.db(0).Ping(ctx).Err()
		return err != nil && strings.HasPrefix(err.Error(), "BUSY")
	})

	key := session.Key{Name: "k", Type: session.String, Value: []byte("v")}
	if err := newFiller(ctx, fresh.db(0)).finish([]session.Key{key}); err == nil {
		t.Error("a key that was never sent passes for restored")
	}
	if got, err := readKeys(ctx, fresh.db(0), []wanted{{key: "k"}}, false); err == nil {
		t.Errorf("a key that was never asked for passes for read: type %v", got[0].change.Type)
	}
	if err := killer.db(0).ScriptKill(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil {
		t.Error("the script ended by itself")
	}
}
