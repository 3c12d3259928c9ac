package procs

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// RedisConfig says how to start a private redis-server.
type RedisConfig struct {
	Dir      string    // its working folder, created when absent
	Port     int       // 0: a free one
	Password string    // requirepass; empty: none
	Args     []string  // more of its options, as pairs: "--maxmemory", "64mb"; they win over the defaults
	Log      io.Writer // its output; nil: dropped
}

// Redis is a running redis-server.
type Redis struct {
	*child
	port int
}

// StartRedis starts a redis-server on the loopback interface, with persistence off, and returns when it answers. ctx
// bounds the start only. To restart a server, give its Dir and Port again. A missing binary is ErrMissing.
func StartRedis(ctx context.Context, cfg RedisConfig) (*Redis, error) {
	binary, err := findRedis()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make redis folder: %w", err)
	}
	return onPort(ctx, cfg.Port, func(ctx context.Context, port int) (*Redis, error) {
		return startRedis(ctx, binary, port, cfg)
	})
}

func startRedis(ctx context.Context, binary string, port int, cfg RedisConfig) (*Redis, error) {
	cmd := exec.Command(binary, "-") // the configuration comes on stdin: a password in argv shows in ps
	cmd.Args = append(cmd.Args, cfg.Args...)
	cmd.Dir = cfg.Dir
	config := "bind 127.0.0.1\nport " + strconv.Itoa(port) + "\nsave \"\"\nappendonly no\ndaemonize no\n"
	if cfg.Password != "" {
		config += "requirepass " + quote(cfg.Password) + "\n"
	}
	cmd.Stdin = bytes.NewReader([]byte(config))

	c, err := startChild("redis-server", cmd, syscall.SIGKILL, cfg.Log)
	if err != nil {
		return nil, err
	}
	r := &Redis{child: c, port: port}
	if err := c.waitReady(ctx, func() bool { return r.answers(cfg.Password) }); err != nil {
		_ = c.kill() // the first error tells more
		return nil, err
	}
	return r, nil
}

// quote renders any bytes for a Redis configuration file.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		fmt.Fprintf(&b, `\x%02x`, s[i])
	}
	b.WriteByte('"')
	return b.String()
}

// Addr returns "127.0.0.1:port".
func (r *Redis) Addr() string { return loopback(r.port) }

// Port returns the TCP port the server listens on.
func (r *Redis) Port() int { return r.port }

// Stop ends the server in order (SIGTERM: it writes what its configuration asks for) and waits. When ctx ends first the
// server is killed and the error is ctx's.
func (r *Redis) Stop(ctx context.Context) error { return r.stop(ctx, syscall.SIGTERM, r.Kill) }

// Kill ends the server at once (SIGKILL) and waits until it is gone.
func (r *Redis) Kill() error { return r.kill() }

// answers reports whether our server, and not a stranger on the same port, serves commands. A server that wants a
// password we were not told counts as serving.
func (r *Redis) answers(password string) bool {
	conn, err := net.DialTimeout("tcp4", r.Addr(), time.Second)
	if err != nil {
		return false
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return false
	}
	in := bufio.NewReader(conn)
	if password != "" {
		fmt.Fprintf(conn, "*2\r\n$4\r\nAUTH\r\n$%d\r\n%s\r\n", len(password), password)
		if _, err := in.ReadString('\n'); err != nil {
			return false
		}
	}
	fmt.Fprint(conn, "*1\r\n$4\r\nINFO\r\n")
	head, err := in.ReadString('\n')
	if err != nil {
		return false
	}
	if size, err := strconv.Atoi(strings.TrimSpace(head[1:])); head[0] == '$' && err == nil {
		info := make([]byte, size)
		_, err = io.ReadFull(in, info)
		return err == nil && bytes.Contains(info, []byte("process_id:"+strconv.Itoa(r.PID())+"\r\n")) &&
			bytes.Contains(info, []byte("\nloading:0\r\n")) // until then commands are refused
	}
	return strings.HasPrefix(head, "-NOAUTH")
}
