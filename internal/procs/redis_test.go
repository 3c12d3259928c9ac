package procs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// need skips where a server is not installed, but not in CI.
func need(t *testing.T, err error) {
	t.Helper()
	if errors.Is(err, ErrMissing) && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func startTestRedis(t *testing.T, cfg RedisConfig) *Redis {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	r, err := StartRedis(testContext(t), cfg)
	need(t, err)
	t.Cleanup(func() { _ = r.Kill() })
	return r
}

// ask sends inline commands and returns the first line of each reply.
func ask(t *testing.T, addr string, wait time.Duration, commands ...string) ([]string, error) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(wait)); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	var replies []string
	for _, command := range commands {
		fmt.Fprintf(conn, "%s\r\n", command)
		line, err := in.ReadString('\n')
		if err != nil {
			return replies, err
		}
		replies = append(replies, strings.TrimSpace(line))
	}
	return replies, nil
}

func TestRedisRestartsOnTheSamePort(t *testing.T) {
	dir := t.TempDir()
	r := startTestRedis(t, RedisConfig{Dir: dir, Args: []string{"--appendonly", "yes", "--appendfsync", "always"}})
	if replies, err := ask(t, r.Addr(), time.Second, "SET k v"); err != nil || replies[0] != "+OK" {
		t.Fatalf("SET: %v %v", replies, err)
	}
	if err := r.Kill(); err != nil {
		t.Fatal(err)
	}
	again := startTestRedis(t, RedisConfig{Dir: dir, Port: r.Port(), Args: []string{"--appendonly", "yes"}})
	if again.Addr() != r.Addr() || again.PID() == r.PID() {
		t.Errorf("restarted as %s pid %d, was %s pid %d", again.Addr(), again.PID(), r.Addr(), r.PID())
	}
	if replies, err := ask(t, again.Addr(), time.Second, "EXISTS k"); err != nil || replies[0] != ":1" {
		t.Errorf("EXISTS after the restart: %v %v", replies, err)
	}
	if err := again.Stop(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := ask(t, again.Addr(), time.Second, "PING"); err == nil {
		t.Error("a stopped redis answered")
	}
}

func TestRedisPasswordOfAnyBytes(t *testing.T) {
	password := "p \"a'ss\\\xff#é"
	r := startTestRedis(t, RedisConfig{Password: password})
	auth := fmt.Sprintf("*2\r\n$4\r\nAUTH\r\n$%d\r\n%s", len(password), password)
	replies, err := ask(t, r.Addr(), time.Second, "PING", auth, "PING")
	if err != nil || !strings.HasPrefix(replies[0], "-NOAUTH") || replies[1] != "+OK" || replies[2] != "+PONG" {
		t.Errorf("replies %q, %v", replies, err)
	}
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", r.PID()))
	if err != nil || strings.Contains(string(cmdline), password) {
		t.Errorf("the command line shows the password, or %v", err)
	}
}

func TestRedisPause(t *testing.T) {
	r := startTestRedis(t, RedisConfig{})
	if err := r.Pause(); err != nil {
		t.Fatal(err)
	}
	var timeout net.Error
	if _, err := ask(t, r.Addr(), 50*time.Millisecond, "PING"); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("a paused redis gave %v, want a timeout", err)
	}
	if err := r.Resume(); err != nil {
		t.Fatal(err)
	}
	if _, err := ask(t, r.Addr(), 5*time.Second, "PING"); err != nil {
		t.Errorf("after Resume: %v", err)
	}
	if err := r.Pause(); err != nil {
		t.Fatal(err)
	}
	if err := r.Stop(testContext(t)); err != nil {
		t.Errorf("stop while paused: %v", err)
	}
}

func TestRedisStopKillsWhenTimeIsUp(t *testing.T) {
	r := startTestRedis(t, RedisConfig{})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := r.Stop(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("stop: %v", err)
	}
	select {
	case <-r.Exited():
	default:
		t.Error("redis still runs after Stop")
	}
}

func TestRedisThatCannotStart(t *testing.T) {
	_, err := StartRedis(testContext(t), RedisConfig{Dir: t.TempDir(), Args: []string{"--no-such-option", "1"}})
	if err == nil || errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "no-such-option") {
		t.Errorf("error %v does not hold redis's own words", err)
	}
	r := startTestRedis(t, RedisConfig{})
	if _, err := StartRedis(testContext(t), RedisConfig{Dir: t.TempDir(), Port: r.Port()}); err == nil {
		t.Error("a second redis started on a taken port")
	}
}

func TestMissingBinaries(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := StartRedis(testContext(t), RedisConfig{Dir: t.TempDir()})
	if !errors.Is(err, ErrMissing) || err.Error() != "redis-server is not installed: apt-get install redis-server" {
		t.Errorf("error %v", err)
	}
}
