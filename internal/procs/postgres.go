package procs

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// postgresUser owns the cluster; no password is asked on the loopback interface, the only one that is listened on.
const (
	postgresUser     = "credproxy"
	postgresDatabase = "credproxy"
)

// PostgresConfig says how to start a private Postgres.
type PostgresConfig struct {
	Dir      string            // holds the folder "data", created when absent
	Port     int               // 0: a free one
	Log      io.Writer         // its output; nil: dropped
	Settings map[string]string // more of its settings; they win over the defaults
	Durable  bool              // false: a machine crash may lose commits (much faster); a killed process never does
}

// Postgres is a running Postgres server.
type Postgres struct {
	*child
	port int
	dir  string
	data string
}

// StartPostgres starts a Postgres on the loopback interface and returns when it accepts connections; the first start in
// Dir creates the cluster and the database "credproxy" in it (about a second). ctx bounds the start only. To restart a
// server, also a killed one, give its Dir and Port again. A missing binary is ErrMissing.
//
// Postgres refuses to run as root: started by root, it runs as the user "postgres", else "nobody". If that user cannot
// reach Dir because a parent is closed to it, the cluster lies in a new folder under os.TempDir and Dir/data is a link to
// it.
func StartPostgres(ctx context.Context, cfg PostgresConfig) (*Postgres, error) {
	bin, err := findPostgres()
	if err != nil {
		return nil, err
	}
	o, err := postgresOwner()
	if err != nil {
		return nil, err
	}
	data, err := prepareCluster(ctx, bin, o, cfg)
	if err != nil {
		return nil, err
	}
	return onPort(ctx, cfg.Port, func(ctx context.Context, port int) (*Postgres, error) {
		return startPostgres(ctx, bin, o, data, port, cfg)
	})
}

func startPostgres(ctx context.Context, bin string, o owner, data string, port int, cfg PostgresConfig) (*Postgres, error) {
	if err := removeStalePID(data); err != nil {
		return nil, err
	}
	cmd := exec.Command(filepath.Join(bin, "postgres"), append([]string{"-D", data}, settings(port, cfg)...)...)
	cmd.Dir = data
	cmd.SysProcAttr = o.attr()
	// SIGQUIT: the postmaster takes its children down with it at once; SIGKILL would leave them to find out.
	c, err := startChild("postgres", cmd, syscall.SIGQUIT, cfg.Log)
	if err != nil {
		return nil, err
	}
	p := &Postgres{child: c, port: port, dir: cfg.Dir, data: data}
	if err := c.waitReady(ctx, p.ready); err != nil {
		_ = p.Kill() // the first error tells more
		return nil, err
	}
	return p, nil
}

// settings renders the command line; later ones win, so cfg.Settings come last.
func settings(port int, cfg PostgresConfig) []string {
	all := []string{
		"listen_addresses=127.0.0.1",
		"port=" + strconv.Itoa(port),
		"unix_socket_directories=", // no socket file: its path is limited to 107 bytes
		"logging_collector=off",
		"log_destination=stderr",
	}
	if !cfg.Durable {
		all = append(all, "fsync=off", "full_page_writes=off")
	}
	for name, value := range cfg.Settings {
		all = append(all, name+"="+value)
	}
	args := make([]string, 0, 2*len(all))
	for _, s := range all {
		args = append(args, "-c", s)
	}
	return args
}

// Addr returns "127.0.0.1:port".
func (p *Postgres) Addr() string { return loopback(p.port) }

// Port returns the TCP port the server listens on.
func (p *Postgres) Port() int { return p.port }

// Dir returns the folder the server was started with.
func (p *Postgres) Dir() string { return p.dir }

// DSN returns the URL of the database "credproxy".
func (p *Postgres) DSN() string {
	return "postgres://" + postgresUser + "@" + p.Addr() + "/" + postgresDatabase + "?sslmode=disable"
}

// Stop ends the server in order (fast shutdown: open transactions are rolled back, everything is written) and waits. When
// ctx ends first the server is killed and the error is ctx's.
func (p *Postgres) Stop(ctx context.Context) error { return p.stop(ctx, syscall.SIGINT, p.Kill) }

// Kill ends the postmaster and all its children at once, as a crash would, and waits until they are gone.
func (p *Postgres) Kill() error {
	// Frozen, the postmaster starts no child that the list would miss.
	if err := p.Pause(); err != nil {
		return err
	}
	children := childrenOf(p.PID())
	if err := p.kill(); err != nil {
		return err
	}
	for _, pid := range children {
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may have noticed its parent's death already
	}
	return waitGone(children)
}

// ready reads the line of the lock file in which the postmaster says that it accepts connections.
func (p *Postgres) ready() bool {
	content, err := os.ReadFile(filepath.Join(p.data, pidFile))
	if err != nil {
		return false
	}
	lines := strings.Split(string(content), "\n")
	return len(lines) >= 8 && lines[0] == strconv.Itoa(p.PID()) && slices.Contains(strings.Fields(lines[7]), "ready")
}

// run runs one of Postgres's programs to its end as the owner, with input on stdin.
func run(ctx context.Context, o owner, dir, input, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.SysProcAttr, cmd.Stdin = dir, o.attr(), strings.NewReader(input)
	output, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("run %s: %w: %s", filepath.Base(name), err, output)
	}
	return nil
}
