package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"credproxy/internal/bots"
	"credproxy/internal/human"
)

// screen is dev's live summary. The numbers come from where an operator gets them: CREDPROXY STATS and MEMORY through
// the proxy.
type screen struct {
	p      *playground
	redraw bool // a terminal: one screen that is drawn again and again; else a line every few seconds
	client *redis.Client
	began  time.Time

	stats, memory map[string]any // the last replies; nil before the first
	bots          bots.Stats
	at            time.Time // of bots
	opsPerSecond  float64
	trouble       string // why the numbers are old; "" when they are not
	drawn         bool
}

func newScreen(p *playground, redraw bool) *screen {
	return &screen{p: p, redraw: redraw, began: time.Now(), at: time.Now(), client: redis.NewClient(&redis.Options{
		Addr: p.proxy.addr(), Protocol: 2, MaxRetries: -1, PoolSize: 1, DialerRetries: 1, DialTimeout: 2 * time.Second,
		ReadTimeout: 2 * time.Second, DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})}
}

// every is how often to draw: a file or a pipe gets fewer lines than a screen gets frames.
func (s *screen) every() time.Duration {
	if s.redraw {
		return 500 * time.Millisecond
	}
	return 5 * time.Second
}

// refresh reads the numbers.
func (s *screen) refresh(ctx context.Context) {
	now, next := time.Now(), s.p.fleet.Stats()
	if elapsed := now.Sub(s.at).Seconds(); elapsed > 0.1 {
		s.opsPerSecond = float64(next.Ops-s.bots.Ops) / elapsed
		s.at = now
		s.bots = next
	}
	s.trouble = ""
	for command, into := range map[string]*map[string]any{"STATS": &s.stats, "MEMORY": &s.memory} {
		reply, err := s.client.Do(ctx, "CREDPROXY", command).Result()
		if ctx.Err() != nil {
			return // the end was asked for, that is no trouble
		}
		if err != nil {
			s.trouble = "the proxy does not answer: " + err.Error()
			return
		}
		rec, err := asRecord(reply)
		if err != nil {
			s.trouble = err.Error()
			return
		}
		*into = rec.values()
	}
}

// values is the record as a map.
func (r record) values() map[string]any {
	m := make(map[string]any, len(r))
	for _, p := range r {
		m[p.name] = p.value
	}
	return m
}

// number reads a number that the proxy sent as an integer or as text.
func number(m map[string]any, name string) float64 {
	var n float64
	fmt.Sscan(fmt.Sprint(m[name]), &n)
	return n
}

func (s *screen) count(name string) string { return human.Count(int64(number(s.stats, name))) }

func (s *screen) micros(name string) string {
	return human.Duration(time.Duration(number(s.stats, name)) * time.Microsecond)
}

func (s *screen) draw() {
	if !s.redraw {
		fmt.Fprintln(s.p.out, s.line())
		return
	}
	var b strings.Builder
	if !s.drawn {
		b.WriteString("\x1b[2J") // once; clearing every time flickers
		s.drawn = true
	}
	b.WriteString("\x1b[H")
	for _, l := range s.lines() {
		b.WriteString(l + "\x1b[K\n")
	}
	b.WriteString("\x1b[J")
	fmt.Fprint(s.p.out, b.String())
}

// say prints a line under the summary.
func (s *screen) say(text string) { fmt.Fprintln(s.p.out, text) }

func (s *screen) lines() []string {
	b := s.bots
	return append([]string{
		fmt.Sprintf("credproxy dev, up %v                                   Ctrl-C ends it", time.Since(s.began).Round(time.Second)),
		"",
		"  memory    " + s.bar(30),
		fmt.Sprintf("            %s of %s (%.1f %%), evicts above %.0f %% until under %.0f %%",
			human.Size(number(s.memory, "used_bytes")), human.Size(number(s.memory, "max_bytes")),
			number(s.memory, "percent_used"), number(s.memory, "threshold"), number(s.memory, "target")),
		fmt.Sprintf("  sessions  %s in Redis, %s only in Postgres", s.count("sessions_resident"), s.count("sessions_evicted")),
		fmt.Sprintf("  evicted   %s", s.count("evictions")),
		fmt.Sprintf("  restored  %s, in %s (p50) and %s (p99)", s.count("restores"), s.micros(statRestoreP50), s.micros(statRestoreP99)),
		fmt.Sprintf("  bots      %d, of which %d are working: %s commands/s", b.Bots, b.Active, human.Count(int64(s.opsPerSecond))),
		fmt.Sprintf("  answers   %s verified (%s nil), %d wrong, %d errors", human.Count(b.Values), human.Count(b.Misses), b.Wrong, b.Errors),
		"",
		"  proxy     " + s.p.proxy.addr(),
		"  dashboard " + s.p.proxy.adminURL(),
		"  redis     " + s.p.redis.Addr(),
		"  postgres  " + s.p.postgres.DSN(),
		"  log       " + s.p.log.Name(),
		"",
	}, strings.Split(cmp.Or(s.note(), small), "\n")...)
}

// small explains what the dashboard warns of.
const small = "  The budget is too small on purpose, so that sessions leave and come back\n  while one watches: the dashboard calls that thrashing."

// bar draws the used memory in its budget, with a mark where eviction starts.
func (s *screen) bar(width int) string {
	used := int(number(s.memory, "percent_used") * float64(width) / 100)
	mark := int(number(s.memory, "threshold") * float64(width) / 100)
	cells := []rune("[" + strings.Repeat("#", min(max(used, 0), width)) + strings.Repeat(".", max(width-max(used, 0), 0)) + "]")
	if mark > 0 && mark < width {
		cells[mark+1] = '|'
	}
	return string(cells)
}

// note is the most important thing that is not as it should be.
func (s *screen) note() string {
	switch {
	case s.bots.Wrong > 0:
		return "  WRONG     " + s.bots.LastWrong
	case s.trouble != "":
		return "  trouble   " + s.trouble
	case s.bots.Errors > 0:
		return "  error     " + s.bots.LastError
	}
	return ""
}

// line is the summary for a file or a pipe.
func (s *screen) line() string {
	text := fmt.Sprintf("%5v  memory %.1f %%  sessions %s in, %s out  evicted %s  restored %s (p50 %s, p99 %s)  %s commands/s  verified %s  wrong %d  errors %d",
		time.Since(s.began).Round(time.Second), number(s.memory, "percent_used"),
		s.count("sessions_resident"), s.count("sessions_evicted"), s.count("evictions"), s.count("restores"),
		s.micros(statRestoreP50), s.micros(statRestoreP99),
		human.Count(int64(s.opsPerSecond)), human.Count(s.bots.Values), s.bots.Wrong, s.bots.Errors)
	if note := strings.TrimSpace(s.note()); note != "" {
		text += "  " + note
	}
	return text
}

// final is the last line of a run, on a terminal and elsewhere.
func (s *screen) final() string {
	b := s.p.fleet.Stats()
	return fmt.Sprintf("%s answers verified, %d wrong, %d errors; %s evictions, %s restores (p50 %s, p99 %s)",
		human.Count(b.Values), b.Wrong, b.Errors, s.count("evictions"), s.count("restores"),
		s.micros(statRestoreP50), s.micros(statRestoreP99))
}

// Names of CREDPROXY STATS that are used in more than one place.
const (
	statRestoreP50 = "restore_p50_us"
	statRestoreP99 = "restore_p99_us"
)
