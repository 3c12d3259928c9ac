package proxy_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"credproxy/internal/session"
	"credproxy/internal/testenv"
	"credproxy/proxy"
	"credproxy/restore"
)

// childEnv holds, in a process that is to be a proxy, what it has to know.
const childEnv = "CREDPROXY_TEST_CHILD"

// childSpec is the environment of a proxy in a process of its own.
type childSpec struct {
	Redis, DSN, Source string
	Interval           time.Duration
	Mode               proxy.SyncMode
	DieAfter           string // "save" or "stubs": the commit after which it is killed
	Armed              string // a file; it is not killed before that exists
	SpareFiles         int    // descriptors that it may open once it listens; 0: as many as it likes
	Log                string // file for its log; "": none
	Budget             int64  // memory.max, bytes
}

// runChildProxy serves until it is killed. It says its address on stdout.
func runChildProxy(text string) {
	if err := serveChild(text); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serveChild(text string) error {
	var spec childSpec
	if err := json.Unmarshal([]byte(text), &spec); err != nil {
		return err
	}
	ctx := context.Background()
	store, err := restore.Open(ctx, restore.Config{DSN: spec.DSN, Source: spec.Source})
	if err != nil {
		return err
	}
	cfg := baseConfig()
	cfg.Upstream.Address, cfg.Sync.Interval, cfg.Sync.Mode = spec.Redis, spec.Interval, spec.Mode
	cfg.Memory.Budget.Max = spec.Budget
	die := func() error {
		if _, err := os.Stat(spec.Armed); err != nil {
			return nil
		}
		return syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	bent := &bend{}
	switch spec.DieAfter {
	case "save":
		bent.afterSave = die
	case "stubs":
		bent.afterStubs = die
	}
	if spec.Log != "" {
		out, err := os.Create(spec.Log)
		if err != nil {
			return err
		}
		cfg.Logger = hclog.New(&hclog.LoggerOptions{Output: out})
	}
	server, err := proxy.New(cfg, &bentStore{Store: store, bend: bent})
	if err != nil {
		return err
	}
	if err := server.Listen(ctx); err != nil {
		return err
	}
	if spec.SpareFiles > 0 {
		if err := spareFiles(spec.SpareFiles); err != nil {
			return err
		}
	}
	fmt.Println(server.Addr())
	return server.Serve()
}

// spareFiles lowers the limit on open files to n more than are open.
func spareFiles(n int) error {
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	limit := syscall.Rlimit{Cur: uint64(len(open) + n), Max: uint64(len(open) + n)}
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
}

// startChild starts a proxy in a process of its own on the environment's Redis and Postgres, and returns how to kill it. e.client
// and e.wire go to it.
func (e *env) startChild(interval time.Duration) (addr string, kill func()) {
	e.t.Helper()
	spec, err := json.Marshal(childSpec{e.redis.Addr(), e.dsn, e.source, interval, e.cfg.Sync.Mode, e.dieAfter, e.armed, e.spareFiles, e.childLog, e.cfg.Memory.Budget.Max})
	must(e.t, err)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+string(spec))
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	must(e.t, err)
	must(e.t, cmd.Start())
	e.childPID = cmd.Process.Pid
	killed := false
	kill = func() {
		if !killed {
			killed = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
	e.t.Cleanup(kill)
	line, err := bufio.NewReader(out).ReadString('\n')
	must(e.t, err)
	addr = strings.TrimSpace(line)
	e.client = redisClient(e.t, addr, "")
	return addr, kill
}

// flushedHits reads from Redis how many accesses of each session have been written there.
func (e *env) flushedHits() map[string]uint64 {
	e.t.Helper()
	ctx := context.Background()
	hits := map[string]uint64{}
	for _, bucket := range e.direct.Keys(ctx, "credproxy:2:heat:*").Val() {
		for id, text := range e.direct.HGetAll(ctx, bucket).Val() {
			b := []byte(text)
			_, n := binary.Uvarint(b)
			hits[id], _ = binary.Uvarint(b[n:])
		}
	}
	return hits
}

// stayAndGo makes n saved sessions "stay0"... that are resident, and n "gone0"... that are evicted.
func (e *env) stayAndGo(c *wire, n int) {
	e.t.Helper()
	fillSessions(c, "stay", n)
	fillSessions(c, "gone", n)
	e.admin("SYNC")
	for i := range n {
		e.evict(fmt.Sprintf("any/gone%d", i))
	}
}

// fillSessions writes n sessions "any/<prefix><i>" with one key each, over c.
func fillSessions(c *wire, prefix string, n int) {
	c.t.Helper()
	for i := range n {
		c.want("+OK\r\n", "SET", fmt.Sprintf("s:%s%d:k", prefix, i), fmt.Sprintf("value %s%d", prefix, i))
	}
}

// wantSessions checks what fillSessions has written.
func wantSessions(c *wire, prefix string, n int) {
	c.t.Helper()
	for i := range n {
		c.want(bulkReply(fmt.Sprintf("value %s%d", prefix, i)), "GET", fmt.Sprintf("s:%s%d:k", prefix, i))
	}
}

// waitSaved waits until Postgres holds a value, without touching the proxy.
func (e *env) waitSaved(id session.ID, key, value string) {
	e.t.Helper()
	testenv.Eventually(e.t, 10*time.Second, key+" in Postgres", func() bool { return e.saved(id, key) == value })
}
