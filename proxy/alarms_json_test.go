package proxy

import (
	"bytes"
	"encoding/json"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"credproxy/internal/session"
)

// In a log of JSON every value is a text, a number or a truth: no id is an object, no duration a bare number.
func TestAlarmsInJSON(t *testing.T) {
	var log bytes.Buffer
	a := newAlarms(hclog.New(&hclog.LoggerOptions{Output: &log, JSONFormat: true}))
	id := session.ID{DB: 3, Keyspace: "wa", Name: "b1"}
	from := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1234}
	wrong := errors.New("wrong")
	a.saving(wrong, 7)
	a.saving(nil, 0)
	a.restore(id, wrong)
	a.foreign(id, "k")
	a.poisoned(id, map[string]string{"k": "bad"})
	a.avoided(id, wrong)
	a.astray(id, "k")
	a.handshake(from, wrong)
	a.waited(&SlowWait{Took: 2 * time.Second, Session: "wa/b1", Command: "GET"})
	for range 9 {
		a.refused(from)
	}
	a.tellLeftOut(true)
	texts := map[string]string{"session": "wa@3/b1", "client": "127.0.0.1:1234", "took": "2s", "mostly_for": "queue", "postgres": "0s"}
	seen := map[string]bool{}
	for dec := json.NewDecoder(&log); dec.More(); {
		var line map[string]any
		if err := dec.Decode(&line); err != nil {
			t.Fatal(err)
		}
		for name, value := range line {
			switch v := value.(type) {
			case string:
				seen[name] = seen[name] || v == texts[name]
			case float64:
				if _, text := texts[name]; text || name == "after" || name == "within" {
					t.Errorf("%s is the number %v: %v", name, v, line)
				}
			case bool:
			default:
				t.Errorf("%s is %v: %v", name, v, line)
			}
		}
	}
	for name, want := range texts {
		if !seen[name] {
			t.Errorf("no line has %s=%q", name, want)
		}
	}
}
