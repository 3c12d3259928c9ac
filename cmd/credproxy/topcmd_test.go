package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/gdamore/tcell/v3/vt"
	"github.com/redis/go-redis/v9"

	"credproxy/internal/human"
	"credproxy/internal/testenv"
)

// screenOf is a program on a terminal, and an emulator that shows what it draws.
type screenOf struct {
	cmd    *exec.Cmd
	tty    *os.File
	term   vt.MockTerm
	w, h   int
	copies sync.WaitGroup
}

// onTerminal starts the program on a terminal of a size.
func onTerminal(t *testing.T, cmd *exec.Cmd, w, h int) *screenOf {
	t.Helper()
	s := &screenOf{cmd: cmd, w: w, h: h, term: vt.NewMockTerm(vt.MockOptSize{X: vt.Col(w), Y: vt.Row(h)})}
	if err := s.term.Start(); err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(cmd.Env, "TERM=xterm-256color", "LANG=C.UTF-8", "LC_ALL=")
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: uint16(h), Cols: uint16(w)})
	if err != nil {
		t.Fatal(err)
	}
	s.tty = tty
	s.copies.Go(func() { _, _ = io.Copy(s.term, tty) }) // ends with the program
	s.copies.Go(func() { _, _ = io.Copy(tty, s.term) }) // the emulator's answers; ends with it
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // gone already, if all went well
		_ = cmd.Wait()
		_ = s.term.Stop()
		tty.Close()
		s.copies.Wait()
	})
	return s
}

func (s *screenOf) text() string {
	var b strings.Builder
	for y := range s.h {
		for x := range s.w {
			c := s.term.GetCell(vt.Coord{X: vt.Col(x), Y: vt.Row(y)}).C
			if c == "" {
				c = " "
			}
			b.WriteString(c)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func (s *screenOf) press(t *testing.T, keys string) {
	t.Helper()
	if _, err := s.tty.WriteString(keys); err != nil {
		t.Fatal(err)
	}
}

// wait returns the screen when it shows all of the texts.
func (s *screenOf) wait(t *testing.T, texts ...string) string {
	t.Helper()
	screen := ""
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		screen = s.text()
		if !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(screen, text) }) {
			return screen
		}
	}
	t.Fatalf("%q is not on the screen:\n%s", texts, screen)
	return ""
}

// exit waits for the end of the program.
func (s *screenOf) exit(t *testing.T) int {
	t.Helper()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = s.cmd.Wait() // ProcessState tells
	}()
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		_ = s.cmd.Process.Kill()
		<-ended
		t.Fatalf("the program does not end:\n%s", s.text())
	}
	return s.cmd.ProcessState.ExitCode()
}

func statsOf(t *testing.T, c *redis.Client) map[string]string {
	t.Helper()
	reply, err := c.Do(t.Context(), "CREDPROXY", "STATS").Result()
	if err != nil {
		t.Fatal(err)
	}
	st := map[string]string{}
	for name, value := range reply.(map[any]any) {
		st[fmt.Sprint(name)] = fmt.Sprint(value)
	}
	return st
}

// shapes are all ways in which a number of STATS may stand on the screen.
func shapes(st map[string]string) []string {
	list := []string{st["memory_threshold"], st["memory_target"]}
	for name, value := range st {
		var n float64
		if _, err := fmt.Sscan(value, &n); err != nil {
			continue
		}
		list = append(list, human.Value(name, value), human.Count(int64(n)))
	}
	var hits, misses float64
	fmt.Sscan(st["hits"], &hits)
	fmt.Sscan(st["misses"], &misses)
	return append(list, fmt.Sprintf("%.1f", 100*hits/(hits+misses)))
}

var (
	figures = regexp.MustCompile(`\d[\d,.]*`)
	// notStats are numbers that are not of STATS: rates, names, ages and clocks.
	notStats = regexp.MustCompile(`(commands|evictions|restores)/s,? +[\d,.-]+( now, [\d,.]+ at most)?|p50|p99|\d\d:\d\d:\d\d|every \S+|up \S+|sampled \S+|127\.0\.0\.1:\d+`)
)

// topFixture is a proxy with sessions in all kinds of states, on which nothing happens any more.
func topFixture(t *testing.T) (*proxyProcess, *redis.Client) {
	p := startConfigured(t, runConfig(testenv.Redis(t).Addr(), "memory { max = \"64MB\" }"), testenv.DSN(t))
	c := client(t, p.addr)
	for i := range 30 {
		set(t, c, fmt.Sprintf("wa:auth:4915100%04d@s.whatsapp.net:creds", i), strings.Repeat("x", 100*i))
	}
	steer := func(args ...any) {
		t.Helper()
		if err := c.Do(t.Context(), append([]any{"CREDPROXY"}, args...)...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	steer("SYNC")
	steer("EVICT", "49151000007@s.whatsapp.net")
	steer("PIN", "49151000011@s.whatsapp.net")
	for i := range 3 {
		name := fmt.Sprintf("4915100%04d@s.whatsapp.net", 20+i)
		steer("EVICT", name)
		steer("RESTORE", name)
	}
	return p, c
}

// Every number that top shows is one of CREDPROXY STATS at that moment.
func TestTopShowsStats(t *testing.T) {
	p, c := topFixture(t)
	for _, size := range [][2]int{{80, 24}, {200, 50}} {
		t.Run(fmt.Sprintf("%dx%d", size[0], size[1]), func(t *testing.T) {
			s := onTerminal(t, program(t, nil, "top", "--addr", p.addr, "--interval", "10m"), size[0], size[1])
			s.wait(t, "credproxy top", "sessions", "49151000003@")
			st := statsOf(t, c)
			var commands int64
			fmt.Sscan(st["commands"], &commands)
			s.press(t, " ")
			st["commands"] = fmt.Sprint(commands + 1) // the STATS that top has sent because of the key
			screen := s.wait(t, human.Count(commands+1)+" commands", st["memory_percent_used"]+" %", "nothing to report")
			lines := strings.Split(screen, "\n")
			listed := slices.IndexFunc(lines, func(l string) bool { return strings.Contains(l, "SESSION ") })
			allowed := strings.Join(shapes(st), " ")
			for _, n := range figures.FindAllString(notStats.ReplaceAllString(strings.Join(lines[:listed], "\n"), ""), -1) {
				if !slices.Contains(figures.FindAllString(allowed, -1), n) {
					t.Errorf("%s is on the screen and not in STATS:\n%s", n, screen)
				}
			}
			for _, want := range []string{human.Value("used_bytes", st["memory_used_bytes"]) + " of " + human.Value("max_bytes", st["memory_max_bytes"]),
				st["sessions_resident"] + " in Redis", st["sessions_evicted"] + " in Postgres", "clients              " + st["clients"],
				human.Value("restore_p50_us", st["restore_p50_us"]), human.Value("restore_p99_us", st["restore_p99_us"])} {
				if !strings.Contains(screen, want) {
					t.Errorf("%q is not on the screen:\n%s", want, screen)
				}
			}
			s.press(t, "q")
			if code := s.exit(t); code != exitOK {
				t.Errorf("exit %d", code)
			}
		})
	}
}

// What the keys order is done, and shown; the terminal may change its size, and the proxy may be away for a while.
func TestTopSteers(t *testing.T) {
	p, c := topFixture(t)
	s := onTerminal(t, program(t, []string{"NO_COLOR=1"}, "top", "--addr", p.addr, "--interval", "200ms"), 80, 24)
	s.wait(t, "sessions: 30", "nothing to report")
	s.press(t, "/0004@")
	s.wait(t, "Filter: 0004@", "SESSION /0004@ (1)", "49151000004@s.whatsapp.net")
	s.press(t, "\r")
	s.wait(t, "? help")
	s.press(t, "e")
	s.wait(t, "Evict baileys@0/49151000004@s.whatsapp.net?")
	s.press(t, "y")
	s.wait(t, "evicted baileys@0/49151000004@s.whatsapp.net", "in Redis ■ 2 in Postgres")
	if st := statsOf(t, c); st["sessions_evicted"] != "2" {
		t.Errorf("%s sessions are evicted", st["sessions_evicted"])
	}
	s.press(t, "\r")
	s.wait(t, "any key closes", "keys are in Postgres")
	s.press(t, "\r")
	s.press(t, "P")
	s.wait(t, "Pause eviction?")
	s.press(t, "y")
	s.wait(t, "Eviction is paused by an operator")
	s.press(t, "P")
	s.wait(t, "eviction goes on", "nothing to report")

	if err := pty.Setsize(s.tty, &pty.Winsize{Rows: 50, Cols: 200}); err != nil {
		t.Fatal(err)
	}
	s.w, s.h = 200, 50
	s.term.SetSize(vt.Coord{X: 200, Y: 50})
	s.wait(t, "activity", "used, percent of the budget", "LAST USED")

	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	s.wait(t, "No answer from "+p.addr)
	if err := p.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	s.wait(t, "nothing to report")
	s.press(t, "\x03")
	if code := s.exit(t); code != exitOK {
		t.Errorf("exit %d after Ctrl-C", code)
	}
}

// With Postgres stopped top says what that means, and how much waits.
func TestTopSaysThatPostgresIsAway(t *testing.T) {
	postgres := testenv.Postgres(t)
	p := startProxy(t, testenv.Redis(t), postgres.DSN())
	c := client(t, p.addr)
	set(t, c, "wa:auth:b1:creds", "v")
	s := onTerminal(t, program(t, nil, "top", "--addr", p.addr, "--interval", "200ms"), 200, 50)
	s.wait(t, "nothing to report", "b1")
	if err := postgres.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	set(t, c, "wa:auth:b1:creds", "w")
	set(t, c, "wa:auth:b1:keys", "w")
	s.wait(t, "Postgres is away (for ", "): nothing can be evicted", "2 keys wait to be saved.")
	s.press(t, "q")
	if code := s.exit(t); code != exitOK {
		t.Errorf("exit %d", code)
	}
}

// With Redis stopped top says so, though no client asks anything of Redis; STATS has it in numbers.
func TestTopSaysThatRedisIsAway(t *testing.T) {
	server := testenv.Redis(t)
	p := startProxy(t, server, testenv.DSN(t))
	c := client(t, p.addr)
	set(t, c, "wa:auth:b1:creds", "v")
	s := onTerminal(t, program(t, nil, "top", "--addr", p.addr, "--interval", "200ms"), 200, 50)
	s.wait(t, "nothing to report", "b1")
	if st := statsOf(t, c); st["redis_away_ms"] != "0" || st["postgres_away_ms"] != "0" {
		t.Errorf("Redis is away for %s ms, Postgres for %s", st["redis_away_ms"], st["postgres_away_ms"])
	}
	if err := server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.wait(t, "Redis is away (for ", "): commands are answered with an error at once")
	if st := statsOf(t, c); st["redis_away_ms"] == "0" {
		t.Error("STATS does not know that Redis is away")
	}
	s.press(t, "q")
	if code := s.exit(t); code != exitOK {
		t.Errorf("exit %d", code)
	}
}

func TestTopNeedsATerminal(t *testing.T) {
	for args, want := range map[string]string{
		"top":                 "not a terminal",
		"top --json":          "stats --json",
		"top --interval 10ms": "100ms or more",
		"top all":             `takes no argument "all"`,
	} {
		_, stderr, code := credproxy(t, nil, strings.Fields(args)...)
		if code != exitUsage || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit %d: %s", args, code, stderr)
		}
	}
}
