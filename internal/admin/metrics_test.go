package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"credproxy/internal/testenv"
)

// The names and the form keep Prometheus's rules.
func TestMetricsLint(t *testing.T) {
	e := newEnv(t, options{})
	problems, err := testutil.GatherAndLint(e.site.metrics.registry)
	must(t, err)
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	if path, err := exec.LookPath("promtool"); err == nil {
		_, body := e.get("/metrics")
		cmd := exec.Command(path, "check", "metrics")
		cmd.Stdin = strings.NewReader(body)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool: %v: %s", err, out)
		}
	}
}

// Metrics are the numbers of CREDPROXY STATS.
func TestMetricsAreTheStats(t *testing.T) {
	e := newEnv(t, options{})
	ctx := context.Background()
	e.fill(20, 500)
	e.credproxy("EVICT", "bot-0001", "bot-0002")
	must(t, e.client.Get(ctx, "wa:bot-0001:creds").Err())
	must(t, e.client.HSet(ctx, "wa:bot-0003:keys", "f", "v").Err())
	for range 10 * 64 { // one batch in 64 is timed
		must(t, e.client.Get(ctx, "wa:bot-0004:creds").Err())
	}
	e.credproxy("SYNC")
	testenv.Eventually(t, 20*time.Second, "both stores asked for the first time", func() bool {
		_, body := e.get("/metrics")
		return strings.Contains(body, "\ncredproxy_redis_up 1\n") && strings.Contains(body, "\ncredproxy_postgres_up 1\n")
	})
	stats := e.stats()
	_, body := e.get("/metrics")
	value := func(series string) string {
		for _, line := range strings.Split(body, "\n") {
			if v, ok := strings.CutPrefix(line, series+" "); ok {
				return v
			}
		}
		return "absent"
	}
	for series, stat := range map[string]string{
		`credproxy_sessions{state="resident"}`: "sessions_resident", `credproxy_sessions{state="evicted"}`: "sessions_evicted",
		`credproxy_evictions_total{reason="command"}`: "command_evictions", "credproxy_restores_total": "restores",
		"credproxy_restore_duration_seconds_count": "restores", "credproxy_hits_total": "hits", "credproxy_misses_total": "misses",
		"credproxy_quick_restores_total": "quick_restores", "credproxy_thrashing": "thrashing", "credproxy_memory_advised_bytes": "advised_max_bytes",
		"credproxy_clients": "clients", "credproxy_save_queue_keys": "dirty_keys", "credproxy_policy_enforcing": "enforcing",
	} {
		if value(series) != stats[stat] {
			t.Errorf("%s is %s, STATS %s is %s", series, value(series), stat, stats[stat])
		}
	}
	if n, _ := strconv.Atoi(value("credproxy_batch_duration_seconds_count")); n < 9 || n > 12 {
		t.Errorf("%d batches were timed", n)
	}
	if value(`credproxy_commands_total{family="hash"}`) != "1" || value(`credproxy_redis_up`) != "1" || value("credproxy_postgres_up") != "1" {
		t.Errorf("metrics:\n%s", body)
	}
	e.credproxy("CLEAR")
	if _, body = e.get("/metrics"); value("credproxy_restores_total") != "0" {
		t.Error("CLEAR does not reset the counters")
	}
}

// Every metric that the rules and the Grafana dashboard name is there, and every alert is explained.
func TestDeployedFilesFit(t *testing.T) {
	e := newEnv(t, options{})
	_, body := e.get("/metrics")
	doc, err := os.ReadFile("../../docs/alerts.md")
	must(t, err)
	for _, file := range []string{"../../deploy/prometheus/alerts.yml", "../../deploy/grafana/credproxy.json"} {
		text, err := os.ReadFile(file)
		must(t, err)
		names := regexp.MustCompile(`\bcredproxy_[a-z0-9_]+`).FindAllString(string(text), -1)
		if len(names) < 10 {
			t.Errorf("%s names %d metrics", file, len(names))
		}
		for _, name := range names {
			if !strings.Contains(body, "\n"+name+" ") && !strings.Contains(body, "\n"+name+"{") {
				t.Errorf("%s: there is no %s", file, name)
			}
		}
		for _, m := range regexp.MustCompile(`- alert: (\w+)`).FindAllStringSubmatch(string(text), -1) {
			if !strings.Contains(string(doc), "\n## "+m[1]+"\n") {
				t.Errorf("docs/alerts.md does not explain %s", m[1])
			}
		}
	}
	checkGrafana(t, "../../deploy/grafana/credproxy.json")
	if path, err := exec.LookPath("promtool"); err == nil {
		if out, err := exec.Command(path, "test", "rules", "../../deploy/prometheus/alerts_test.yml").CombinedOutput(); err != nil {
			t.Errorf("promtool test rules: %v: %s", err, out)
		}
	}
}

// checkGrafana looks whether the file is what Grafana imports, and its questions are what Prometheus understands.
func checkGrafana(t *testing.T, path string) {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	var board struct {
		UID    string
		Panels []struct {
			ID      int
			Title   string
			Targets []struct{ Expr string }
		}
	}
	must(t, json.Unmarshal(text, &board))
	rules, seen := strings.Builder{}, map[int]bool{}
	rules.WriteString("groups:\n  - name: panels\n    rules:\n")
	for _, p := range board.Panels {
		if seen[p.ID] || len(p.Targets) == 0 {
			t.Errorf("panel %d %q: its number is taken, or it asks nothing", p.ID, p.Title)
		}
		seen[p.ID] = true
		for i, target := range p.Targets {
			expr := strings.NewReplacer("$__rate_interval", "5m", "$__range", "5m", "$__interval", "5m").Replace(target.Expr)
			fmt.Fprintf(&rules, "      - record: panel:%d:%d\n        expr: %q\n", p.ID, i, expr)
		}
	}
	if promtool, err := exec.LookPath("promtool"); err == nil {
		file := filepath.Join(t.TempDir(), "panels.yml")
		must(t, os.WriteFile(file, []byte(rules.String()), 0o600))
		if out, err := exec.Command(promtool, "check", "rules", file).CombinedOutput(); err != nil {
			t.Errorf("promtool check rules: %v: %s", err, out)
		}
	}
}
