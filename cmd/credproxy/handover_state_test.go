package main

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"credproxy/internal/testenv"
)

// wire is a client's bare connection.
type wire struct {
	t *testing.T
	c net.Conn
	r *bufio.Reader
}

func newWire(t *testing.T, c net.Conn, err error) *wire {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &wire{t, c, bufio.NewReader(c)}
}

func dialWire(t *testing.T, network, addr string) *wire {
	t.Helper()
	c, err := net.Dial(network, addr)
	return newWire(t, c, err)
}

func (w *wire) send(text string) {
	w.t.Helper()
	if _, err := io.WriteString(w.c, text); err != nil {
		w.t.Fatalf("send %q: %v", text, err)
	}
}

// reads wants these very bytes.
func (w *wire) reads(want string) {
	w.t.Helper()
	got := make([]byte, len(want))
	_ = w.c.SetReadDeadline(time.Now().Add(time.Minute))
	if n, err := io.ReadFull(w.r, got); err != nil || string(got) != want {
		w.t.Fatalf("read %q, %v, want %q", got[:n], err, want)
	}
}

func (w *wire) ask(command, want string) {
	w.t.Helper()
	w.send(command + "\r\n")
	w.reads(want)
}

// line reads one line.
func (w *wire) line(command string) string {
	w.t.Helper()
	w.send(command + "\r\n")
	_ = w.c.SetReadDeadline(time.Now().Add(time.Minute))
	text, err := w.r.ReadString('\n')
	if err != nil {
		w.t.Fatalf("%s: %v", command, err)
	}
	return text
}

// What a client has said about itself, and what it has sent of a command, is known to the process that takes over; so is what an operator
// has asked for.
func TestHandoverKeepsClients(t *testing.T) {
	server, dsn := testenv.Redis(t), testenv.DSN(t)
	p := startChain(t, runConfig(server.Addr(), ""), dsn)
	named, half, idle := dialWire(t, "tcp", p.addr), dialWire(t, "tcp", p.addr), dialWire(t, "tcp", p.addr)
	named.ask("SELECT 3", "+OK\r\n")
	named.ask("CLIENT SETNAME worker", "+OK\r\n")
	named.ask("SET wa:auth:n:creds x", "+OK\r\n")
	id := named.line("CLIENT ID")
	half.send("*3\r\n$3\r\nSET\r\n$16\r\nwa:auth:h:creds1\r\n$10\r\n01234")
	transaction := dialWire(t, "tcp", p.addr)
	transaction.ask("MULTI", "+OK\r\n")
	transaction.ask("SET wa:auth:t:creds 1", "+QUEUED\r\n")
	idle.ask("CREDPROXY PIN n", "+OK\r\n")
	idle.ask("CREDPROXY PAUSE", "+OK\r\n")
	for range 2 {
		p.mu.Lock()
		n := len(p.taken)
		p.mu.Unlock()
		p.signal(syscall.SIGUSR2)
		if transaction != nil { // it has begun before, and may end
			transaction.ask("EXEC", "*1\r\n+OK\r\n")
			transaction = nil
		}
		p.wait("a new process has taken over", func() bool { return len(p.taken) > n })
	}
	half.send("56789\r\n")
	half.reads("+OK\r\n")
	named.ask("GET wa:auth:n:creds", "$1\r\nx\r\n")
	named.ask("CLIENT GETNAME", "$6\r\nworker\r\n")
	if got := named.line("CLIENT ID"); got != id {
		t.Errorf("client %q is now %q", id, got)
	}
	if got := dialWire(t, "tcp", p.addr).line("CLIENT ID"); got == id {
		t.Errorf("a new client has got the number %q of another", got)
	}
	fields, err := client(t, p.addr).Do(t.Context(), "CREDPROXY", "STATS").Result()
	if err != nil || !strings.Contains(fmt.Sprint(fields), "eviction_paused:1") && !strings.Contains(fmt.Sprint(fields), "paused") {
		t.Errorf("stats: %v, %v", fields, err)
	}
	p.stop()
}

// A TLS connection stays with the process that has made it, which carries its bytes to the one that serves.
func TestHandoverOfTLS(t *testing.T) {
	a := testenv.NewAuthority(t)
	cert, key := a.Issue(t, "127.0.0.1")
	config := runConfig(testenv.Redis(t).Addr(), fmt.Sprintf("tls {\n cert = %q\n key = %q\n}\n", cert, key))
	p := startChain(t, config, testenv.DSN(t))
	dial := func() *wire {
		c, err := tls.Dial("tcp", p.addr, &tls.Config{RootCAs: a.Pool(), ServerName: "127.0.0.1"})
		return newWire(t, c, err)
	}
	early := dial()
	early.ask("SET wa:auth:n:creds 1", "+OK\r\n")
	first := p.pid
	for range 2 {
		p.handOver()
		early.ask("INCR wa:auth:n:creds", fmt.Sprintf(":%d\r\n", 1+len(p.taken)))
		dial().ask("GET wa:auth:n:creds", fmt.Sprintf("$1\r\n%d\r\n", 1+len(p.taken)))
	}
	if syscall.Kill(first, 0) != nil {
		t.Error("the process that has the TLS connection is gone")
	}
	if list := early.line("CLIENT INFO"); strings.HasPrefix(list, "-") {
		t.Error(list)
	}
	p.signal(syscall.SIGTERM) // the pipes end with those who serve them
	select {
	case <-p.ended:
	case <-time.After(time.Minute):
		t.Error("a process is left behind")
	}
}

// A Unix socket's file outlives the process that has made it.
func TestHandoverOnASocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "p.sock")
	config := strings.Replace(runConfig(testenv.Redis(t).Addr(), ""), `"127.0.0.1:0"`, fmt.Sprintf("%q", "unix://"+socket), 1)
	p := startChain(t, config, testenv.DSN(t))
	early := dialWire(t, "unix", socket)
	early.ask("SET wa:auth:n:creds 1", "+OK\r\n")
	for range 2 {
		p.handOver()
		early.ask("GET wa:auth:n:creds", "$1\r\n1\r\n")
		dialWire(t, "unix", socket).ask("GET wa:auth:n:creds", "$1\r\n1\r\n")
	}
	p.stop()
	if _, err := os.Stat(socket); !os.IsNotExist(err) {
		t.Errorf("the last process has left its socket: %v", err)
	}
}

// A successor that cannot start changes nothing.
func TestHandoverToABrokenConfiguration(t *testing.T) {
	p := startChain(t, runConfig(testenv.Redis(t).Addr(), ""), testenv.DSN(t))
	c := dialWire(t, "tcp", p.addr)
	c.ask("SET wa:auth:n:creds 1", "+OK\r\n")
	good, err := os.ReadFile(p.config)
	if err != nil {
		t.Fatal(err)
	}
	for i, bad := range []string{"nonsense = 1\n", string(good) + "maxclients = 0\n", strings.Replace(string(good), "upstream { address = \"", "upstream { address = \"127.0.0.1:1\" }#", 1)} {
		if err := os.WriteFile(p.config, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		p.signal(syscall.SIGUSR2)
		p.wait("the handover fails", func() bool { return strings.Count(p.log.String(), "not handed over") == i+1 })
		c.ask("INCR wa:auth:n:creds", fmt.Sprintf(":%d\r\n", i+2))
		c.ask("CREDPROXY EVICT n", ":1\r\n") // this process still has the lock
	}
	if err := os.WriteFile(p.config, good, 0o600); err != nil {
		t.Fatal(err)
	}
	p.handOver()
	c.ask("GET wa:auth:n:creds", "$1\r\n4\r\n")
	p.stop()
}

// A successor that fails after this process has let go is given up: this one goes on with its clients, and takes the lock back.
func TestHandoverFailsLate(t *testing.T) {
	dsn := testenv.DSN(t)
	p := startChain(t, runConfig(testenv.Redis(t).Addr(), ""), dsn)
	c := dialWire(t, "tcp", p.addr)
	c.ask("SET wa:auth:n:creds 1", "+OK\r\n")
	release := waitForLock(t, dsn)
	p.signal(syscall.SIGUSR2)
	p.wait("the new process finds the lock taken", func() bool { return p.says("not handed over") })
	c.ask("INCR wa:auth:n:creds", ":2\r\n")
	if got := c.line("CREDPROXY EVICT n"); !strings.Contains(got, "lock") {
		t.Errorf("EVICT without the lock: %q", got)
	}
	release()
	p.wait("the lock is back", func() bool { return p.says("the lease on the memory policy is back") })
	c.ask("CREDPROXY EVICT n", ":1\r\n")
	c.ask("GET wa:auth:n:creds", "$1\r\n2\r\n")
	p.handOver()
	c.ask("GET wa:auth:n:creds", "$1\r\n2\r\n")
	p.stop()
}

// waitForLock stands in line for the lock that a proxy holds, and returns when it does. release lets go of the lock, once it was had.
func waitForLock(t *testing.T, dsn string) (release func()) {
	t.Helper()
	connect := func() *pgx.Conn {
		conn, err := pgx.Connect(t.Context(), dsn)
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	look, thief := connect(), connect()
	defer look.Close(t.Context())
	var key int64
	const find = `SELECT (classid::bigint << 32) | objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND granted
		AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`
	if err := look.QueryRow(t.Context(), find).Scan(&key); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = thief.Exec(t.Context(), "SELECT pg_advisory_lock($1)", key)
	}()
	testenv.Eventually(t, time.Minute, "somebody waits for the lock", func() bool {
		var n int
		err := look.QueryRow(t.Context(), "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted").Scan(&n)
		return err == nil && n > 0
	})
	return func() {
		<-done
		thief.Close(t.Context())
	}
}
