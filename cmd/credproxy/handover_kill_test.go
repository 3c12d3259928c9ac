package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"credproxy/internal/testenv"
)

var everyStep = flag.Bool("every-step", false, "TestHandoverCutOff ends a process at every step, not at some")

// endAt names the file that names the step of a handover at which the process that comes to it is killed.
const endAt = "CREDPROXY_TEST_END_AT"

// lateSuffix ends the name of a file beside that one. While it is there, a new process goes on from "new: commit" when the old one is dead.
const lateSuffix = ".late"

// watchSteps makes this process, which runs as the program, end at the step that a test has chosen.
func watchSteps() {
	file := os.Getenv(endAt)
	if file == "" {
		return
	}
	parent := os.Getppid()
	atStep = func(name string) {
		if _, err := os.Stat(file + lateSuffix); err == nil && name == "new: commit" {
			for os.Getppid() == parent { // it is about to be killed
				time.Sleep(time.Millisecond)
			}
		}
		if text, err := os.ReadFile(file); err != nil || string(text) != name {
			return
		}
		os.Remove(file)
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // nothing behind the step may happen
	}
}

// doom is the file that watchSteps reads.
type doom struct {
	t    *testing.T
	file string
}

func newDoom(t *testing.T) doom { return doom{t, filepath.Join(t.TempDir(), "step")} }

func (d doom) env() string { return endAt + "=" + d.file }

// choose has the next process that comes to the step killed there.
func (d doom) choose(step string) {
	d.t.Helper()
	if err := os.WriteFile(d.file+".new", []byte(step), 0o600); err != nil {
		d.t.Fatal(err)
	}
	if err := os.Rename(d.file+".new", d.file); err != nil {
		d.t.Fatal(err)
	}
}

// late says whether a new process that is told to begin waits for the old one's death.
func (d doom) late(on bool) {
	d.t.Helper()
	err := os.Remove(d.file + lateSuffix)
	if on {
		err = os.WriteFile(d.file+lateSuffix, nil, 0o600)
	}
	if err != nil && !os.IsNotExist(err) {
		d.t.Fatal(err)
	}
}

// met reports whether a process has come to the step.
func (d doom) met() bool {
	_, err := os.Stat(d.file)
	return os.IsNotExist(err)
}

// beforeBegun are the steps at which the end of the new process changes nothing for anybody.
var beforeBegun = []string{"new: before ready", "new: ready", "new: go", "new: has the lock", "new: before recovered", "new: recovered", "new: commit"}

// The new process is killed at every step until it serves: the old one goes on with every client, none of whose commands fails, and with
// the lock. The handover after that succeeds.
func TestHandoverToAProcessThatIsKilled(t *testing.T) {
	server, dsn, doom := testenv.Redis(t), testenv.DSN(t), newDoom(t)
	p := startChain(t, runConfig(server.Addr(), ""), dsn, doom.env())
	ctx, halt := context.WithCancel(t.Context())
	defer halt()
	var all sync.WaitGroup
	for i := range 8 {
		h := &hammer{n: i, fresh: i%4 == 0}
		all.Go(func() {
			if err := h.run(ctx, p.addr); err != nil {
				t.Error(err)
			}
		})
	}
	first, c := p.pid, client(t, p.addr)
	set(t, c, "wa:auth:bot100:creds", "v")
	for i, step := range beforeBegun {
		doom.choose(step)
		p.signal(syscall.SIGUSR2)
		p.wait("the handover fails at "+step, func() bool { return strings.Count(p.log.String(), "not handed over") == i+1 })
		if !doom.met() {
			t.Fatalf("no process came to %q", step)
		}
		testenv.Eventually(t, time.Minute, "the old process evicts after "+step, func() bool {
			n, err := c.Do(t.Context(), "CREDPROXY", "EVICT", "bot100").Int()
			return err == nil && n == 1
		})
		wantValue(t, c, "wa:auth:bot100:creds", "v")
	}
	if p.pid != first {
		t.Errorf("process %d serves, want %d", p.pid, first)
	}
	p.handOver()
	wantValue(t, c, "wa:auth:bot100:creds", "v")
	halt()
	all.Wait()
	p.stop()
}

// cuts are ends of one of the two processes. serves says that the new one serves afterwards; else nobody does, until the next start.
var cuts = []struct {
	step         string
	serves, late bool
}{
	{step: "old: started"}, {step: "old: ready"}, {step: "old: held"}, {step: "old: lock released"}, {step: "old: go"}, {step: "old: recovered"},
	{step: "old: commit", serves: true}, {step: "old: commit", serves: true, late: true}, {step: "old: client", serves: true}, {step: "old: end", serves: true},
	{step: "new: begun"}, {step: "new: client"}, {step: "new: end"},
}

// Whichever process is killed at whichever step: what was acknowledged is there, and what was deleted stays away. Two processes never
// serve, and a new one is started only where none does.
// Every step: go test ./cmd/credproxy -run TestHandoverCutOff -v -args -every-step
func TestHandoverCutOff(t *testing.T) {
	chosen := slices.Clone(cuts)
	if !*everyStep {
		rand.Shuffle(len(chosen), func(i, j int) { chosen[i], chosen[j] = chosen[j], chosen[i] })
		chosen = chosen[:3]
	}
	redis.SetLogger(quiet{}) // clients will find nobody listening
	server, dsn, doom := testenv.Redis(t), testenv.DSN(t), newDoom(t)
	socket := filepath.Join(t.TempDir(), "p.sock")
	config := strings.Replace(runConfig(server.Addr(), ""), `"127.0.0.1:0"`, fmt.Sprintf("%q", "unix://"+socket), 1)
	ctx, halt := context.WithCancel(t.Context())
	defer halt()
	var all sync.WaitGroup
	p := startChain(t, config, dsn, doom.env())
	crowd := make([]*survivor, 8)
	for i := range crowd {
		s := &survivor{t: t, n: i, socket: socket, values: []string{""}}
		crowd[i] = s
		all.Go(func() { s.run(ctx) })
	}
	for _, cut := range chosen {
		t.Log("killed at", cut.step, cut.late)
		doom.late(cut.late)
		taken := p.takenOver()
		doom.choose(cut.step)
		p.signal(syscall.SIGUSR2)
		testenv.Eventually(t, time.Minute, "a process comes to "+cut.step, doom.met)
		if cut.serves {
			p.wait("the new process serves alone", func() bool { return len(p.taken) > taken })
		} else {
			select {
			case <-p.ended:
			case <-time.After(time.Minute):
				t.Fatalf("a process is left after %s:\n%s", cut.step, p.logged())
			}
			p = startChain(t, config, dsn, doom.env())
		}
		awaitRounds(t, crowd)
	}
	halt()
	all.Wait()
	for _, s := range crowd {
		c := s.dial()
		s.check(t.Context(), c)
		c.Close()
	}
	p.stop()
}

// awaitRounds returns when every client has worked for a while.
func awaitRounds(t *testing.T, crowd []*survivor) {
	t.Helper()
	for _, s := range crowd {
		from := s.rounds.Load()
		testenv.Eventually(t, time.Minute, fmt.Sprintf("client %d works", s.n), func() bool { return s.rounds.Load() >= from+10 })
	}
}

// survivor is a client that connects again when it has to, and knows what may be true then.
type survivor struct {
	t      *testing.T
	n      int
	socket string
	rounds atomic.Int64 // without an error

	values      []string // what may be stored: "" is nothing
	least, most int64    // what the counter may be
}

func (s *survivor) dial() *redis.Client {
	return redis.NewClient(&redis.Options{Network: "unix", Addr: s.socket, MaxRetries: -1, PoolSize: 1, DialerRetries: 1})
}

func (s *survivor) run(ctx context.Context) {
	for n := 0; ctx.Err() == nil; {
		c := s.dial()
		for ctx.Err() == nil {
			n++
			// No command works on ctx: who halts must not leave an outcome open.
			if err := s.round(c, n); err != nil {
				break
			}
			s.rounds.Add(1)
		}
		c.Close()
		time.Sleep(10 * time.Millisecond) // nobody may listen
	}
}

func (s *survivor) session() string { return fmt.Sprintf("bot%d", s.n) }
func (s *survivor) key() string     { return "wa:auth:" + s.session() + ":creds" }
func (s *survivor) counter() string { return "wa:auth:" + s.session() + ":keys" }

// round writes, evicts, deletes and reads. The error is one of the connection.
func (s *survivor) round(c *redis.Client, n int) error {
	ctx := context.Background()
	if err := s.check(ctx, c); err != nil {
		return err
	}
	value := fmt.Sprintf("%d.%d %s", s.n, n, strings.Repeat("x", 200))
	if err := s.change(value, func() error { return c.Set(ctx, s.key(), value, 0).Err() }); err != nil {
		return err
	}
	s.most++
	got, err := c.Incr(ctx, s.counter()).Result()
	if err != nil {
		return err
	}
	s.wantCount(got, 1)
	if n%3 == s.n%3 {
		// It may be refused: the lock may be away for a moment.
		_ = c.Do(ctx, "CREDPROXY", "EVICT", s.session()).Err()
	}
	if n%7 == s.n%7 {
		return s.change("", func() error { return c.Del(ctx, s.key()).Err() })
	}
	return nil
}

// change does something after which only value is stored, if it is acknowledged.
func (s *survivor) change(value string, do func() error) error {
	s.values = append(s.values, value)
	err := do()
	if err == nil {
		s.values = []string{value}
	}
	return err
}

// check reads what is stored.
func (s *survivor) check(ctx context.Context, c *redis.Client) error {
	got, err := c.Get(ctx, s.key()).Result()
	if err != nil && err != redis.Nil {
		return err
	}
	if !slices.Contains(s.values, got) {
		s.t.Errorf("client %d reads %.20q, and may read %.20q", s.n, got, s.values)
	}
	s.values = []string{got}
	count, err := c.Get(ctx, s.counter()).Int64()
	if err != nil && err != redis.Nil {
		return err
	}
	s.wantCount(count, 0)
	return nil
}

// wantCount is told what the counter is. acknowledged INCRs of these were not in least before.
func (s *survivor) wantCount(got, acknowledged int64) {
	if got < s.least+acknowledged || got > s.most {
		s.t.Errorf("client %d: its counter is %d, want %d to %d", s.n, got, s.least+acknowledged, s.most)
	}
	s.least, s.most = got, got
}
