package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
)

// A client that gives a wrong password a thousand times a second makes a few lines a minute, and none of the others is forgotten.
func TestRepeatsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		a := newAlarms(hclog.New(&hclog.LoggerOptions{Output: &out, DisableTime: true}))
		lines := func() []string {
			text := strings.TrimSpace(out.String())
			out.Reset()
			return strings.Split(text, "\n")
		}
		from := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 4000}
		storm := func() {
			for range 10_000 {
				a.refused(from)
				time.Sleep(time.Millisecond)
			}
		}
		storm()
		if got := lines(); len(got) != 5 || !strings.Contains(got[0], "wrong password: client=192.0.2.7:4000") {
			t.Errorf("%q", got)
		}
		a.handshake(from, errors.New("no certificate")) // of another kind
		if got := lines(); len(got) != 1 || !strings.Contains(got[0], "not let in") {
			t.Errorf("%q", got)
		}
		a.tellLeftOut(false)
		if out.Len() > 0 {
			t.Errorf("told before the minute is over: %s", &out)
		}
		time.Sleep(alarmEvery)
		a.tellLeftOut(false)
		if got := lines(); len(got) != 1 || !strings.Contains(got[0], "[WARN]  a client gave a wrong password: left_out=9995 within=1m10s") {
			t.Errorf("%q", got)
		}
		storm()
		lines()
		time.Sleep(alarmEvery) // the next one tells, when nobody has asked meanwhile
		a.refused(from)
		if got := lines(); len(got) != 2 || !strings.Contains(got[0], "left_out=9995") || !strings.Contains(got[1], "client=") {
			t.Errorf("%q", got)
		}
		storm()
		lines()
		a.tellLeftOut(true) // the end
		if got := lines(); len(got) != 1 || !strings.Contains(got[0], "left_out=") {
			t.Errorf("%q", got)
		}
		a.tellLeftOut(true)
		if out.Len() > 0 {
			t.Errorf("told twice: %s", &out)
		}
	})
}

// That a client uses a session when its turn has come is everyday, and no error of the policy.
func TestSessionsInUseAreNoAlarm(t *testing.T) {
	var out bytes.Buffer
	a := newAlarms(hclog.New(&hclog.LoggerOptions{Output: &out}))
	a.policy(fmt.Errorf("evict: %w", errNotEvictable{"it is in use"}))
	if out.Len() > 0 {
		t.Errorf("logged: %s", &out)
	}
	a.policy(errors.New("Redis is away"))
	if !strings.Contains(out.String(), "not enforced") {
		t.Errorf("not logged: %s", &out)
	}
}

// A state that comes and goes many times a second is told once, with its end; one that lasts is told soon, however short ago the last was.
func TestFlappingAlarmIsQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		a := newAlarms(hclog.New(&hclog.LoggerOptions{Output: &out, DisableTime: true}))
		for range 200 {
			a.saving(errors.New("away"), 1)
			time.Sleep(50 * time.Millisecond)
			a.saving(nil, 0)
			time.Sleep(50 * time.Millisecond)
		}
		if n := strings.Count(out.String(), "\n"); n != 2 || !strings.Contains(out.String(), "saving works again") {
			t.Errorf("%d lines: %s", n, &out)
		}
		out.Reset()
		for range 30 {
			a.saving(errors.New("away"), 1)
			time.Sleep(time.Second)
		}
		a.saving(nil, 0)
		if n := strings.Count(out.String(), "\n"); n != 2 || !strings.Contains(out.String(), "works again: after=30s") {
			t.Errorf("%d lines: %s", n, &out)
		}
	})
}
