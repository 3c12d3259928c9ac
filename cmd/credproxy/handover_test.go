package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"credproxy/internal/testenv"
)

var restarts = flag.Int("restarts", 2, "how often TestHandover hands over")

// chain is `credproxy run` and the processes that take over from it, one after the other.
type chain struct {
	t      *testing.T
	config string
	ended  chan struct{} // closed when the last process has ended

	mu          sync.Mutex // guards what follows
	log         bytes.Buffer
	pid         int // of the process that serves
	next        int // of the latest that was started to take over
	addr, admin string
	taken       []string // how long clients have waited, by handover
}

// chainLine is what the tests read of a line of the log.
type chainLine struct {
	Message string `json:"@message"`
	Listen  string `json:"listen"`
	Admin   string `json:"admin"`
	PID     int    `json:"pid"`
	Waited  string `json:"clients_waited"`
}

func startChain(t *testing.T, config, dsn string, env ...string) *chain {
	t.Helper()
	path := writeFile(t, config)
	p := followChain(t, program(t, append(env, "TEST_DSN="+dsn), "run", "--config", path))
	p.config = path
	return p
}

// followChain starts the first process and returns when it serves.
func followChain(t *testing.T, cmd *exec.Cmd) *chain {
	t.Helper()
	p := &chain{t: t, ended: make(chan struct{})}
	p.follow(cmd)
	t.Cleanup(func() {
		p.mu.Lock()
		pids := []int{p.pid, p.next}
		p.mu.Unlock()
		for _, pid := range pids {
			select {
			case <-p.ended: // the numbers may be others' by now
			default:
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		<-p.ended
		if t.Failed() {
			t.Log(p.logged())
		}
	})
	p.wait("the proxy serves", func() bool { return p.addr != "" })
	return p
}

// follow starts the first process and reads the log of all.
func (p *chain) follow(cmd *exec.Cmd) {
	p.t.Helper()
	stderr, err := cmd.StderrPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.pid, p.next = cmd.Process.Pid, cmd.Process.Pid
	go func() {
		defer close(p.ended)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			p.read(lines.Text())
		}
		_ = cmd.Wait() // of the first process
	}()
}

func (p *chain) read(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.log.WriteString(text + "\n")
	var line chainLine
	if json.Unmarshal([]byte(text), &line) != nil {
		return
	}
	switch {
	case line.Message == "serving":
		p.addr, p.admin = line.Listen, line.Admin
	case strings.HasPrefix(line.Message, "a new process has been started"):
		p.next = line.PID
	case line.Message == "taken over from the process before":
		p.pid, p.taken = p.next, append(p.taken, line.Waited)
	case strings.HasPrefix(line.Message, "the process before has ended while it handed"): // it was killed
		p.pid, p.taken = p.next, append(p.taken, "unknown")
	}
}

// wait returns when cond, which may look at what the log has said, holds.
func (p *chain) wait(what string, cond func() bool) {
	p.t.Helper()
	testenv.Eventually(p.t, time.Minute, what, func() bool {
		select {
		case <-p.ended:
			p.t.Fatalf("the proxy has ended:\n%s", p.logged())
		default:
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		return cond()
	})
}

func (p *chain) says(text string) bool { return strings.Contains(p.log.String(), text) }

func (p *chain) logged() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

func (p *chain) signal(sig syscall.Signal) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := syscall.Kill(p.pid, sig); err != nil {
		p.t.Fatal(err)
	}
}

// takenOver is how many processes have taken over.
func (p *chain) takenOver() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.taken)
}

// handOver lets a new process take over.
func (p *chain) handOver() {
	p.t.Helper()
	n := p.takenOver()
	p.signal(syscall.SIGUSR2)
	p.wait("a new process has taken over", func() bool { return len(p.taken) > n })
}

// stop ends the process that serves, which must save everything.
func (p *chain) stop() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(time.Minute):
		p.t.Fatal("the proxy does not end")
	}
	if !strings.Contains(p.logged(), "everything is saved") {
		p.t.Error("the last process did not save everything")
	}
}

// hammer is a client that verifies every answer.
type hammer struct {
	n     int
	fresh bool // a connection for each round
	count int64
}

func (h *hammer) run(ctx context.Context, addr string) error {
	dial := func() *redis.Client { return redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1, PoolSize: 1}) }
	c := dial()
	defer func() { c.Close() }()
	for ctx.Err() == nil {
		if err := h.round(c); err != nil {
			return fmt.Errorf("client %d, round %d: %w", h.n, h.count, err)
		}
		if h.fresh {
			c.Close()
			c = dial()
			time.Sleep(10 * time.Millisecond) // a storm of connections would wait for its turn
		}
	}
	return nil
}

func (h *hammer) key() string { return fmt.Sprintf("wa:auth:bot%d:keys", h.n) }

// round works on its own: the client that stops must not take a command's outcome with it.
func (h *hammer) round(c *redis.Client) error {
	ctx := context.Background()
	got, err := c.Incr(ctx, h.key()).Result()
	if err != nil || got != h.count+1 {
		return fmt.Errorf("INCR: %d, %w, want %d", got, err, h.count+1)
	}
	h.count++
	creds, want := fmt.Sprintf("wa:auth:bot%d:creds", h.n), strings.Repeat(fmt.Sprintf("%d.%d ", h.n, h.count), 30)
	if err := c.Set(ctx, creds, want, 0).Err(); err != nil {
		return fmt.Errorf("SET: %w", err)
	}
	if got, err := c.Get(ctx, creds).Result(); err != nil || got != want {
		return fmt.Errorf("GET: %q, %w, want %q", got, err, want)
	}
	return nil
}

// Fifty clients work while process after process takes over: none of their commands fails, and every INCR counts once.
// More handovers: go test ./cmd/credproxy -run TestHandover -v -args -restarts 10
func TestHandover(t *testing.T) {
	server, dsn := testenv.Redis(t), testenv.DSN(t)
	p := startChain(t, runConfig(server.Addr(), ""), dsn)
	ctx, halt := context.WithCancel(t.Context())
	defer halt()
	hammers := make([]*hammer, 50)
	var failed atomic.Int64
	var all sync.WaitGroup
	for i := range hammers {
		h := &hammer{n: i, fresh: i%10 == 0}
		hammers[i] = h
		all.Go(func() {
			if err := h.run(ctx, p.addr); err != nil {
				failed.Add(1)
				t.Error(err)
			}
		})
	}
	for range *restarts {
		p.handOver()
		time.Sleep(300 * time.Millisecond) // the new process works for a while
	}
	halt()
	all.Wait()
	total := int64(0)
	direct := client(t, server.Addr())
	for _, h := range hammers {
		total += 3 * h.count
		if got, err := direct.Get(t.Context(), h.key()).Int64(); err != nil || got != h.count {
			t.Errorf("client %d has counted to %d, its counter stands at %d, %v", h.n, h.count, got, err)
		}
	}
	p.mu.Lock()
	t.Logf("%d handovers, %d commands, %d clients failed; clients waited %s", len(p.taken), total, failed.Load(), strings.Join(p.taken, " "))
	p.mu.Unlock()
	p.stop()
}
