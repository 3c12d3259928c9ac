package clients

import (
	"io"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"credproxy/internal/testenv"
)

// TestRedisExporter: redis_exporter, unmodified, reads the proxy as it reads a Redis. Debian has it as prometheus-redis-exporter.
func TestRedisExporter(t *testing.T) {
	var path string
	for _, name := range []string{"redis_exporter", "prometheus-redis-exporter"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		skip(t, "redis_exporter is not installed: it is not tested")
	}
	s := newStack(t)
	fillByCLI(t, s.addr)
	must(t, s.admin.Do(t.Context(), "CREDPROXY", "SYNC").Err())
	must(t, s.admin.Do(t.Context(), "CREDPROXY", "EVICT", "app/c0", "app/c1").Err())
	web := freeAddr(t)
	var said strings.Builder
	cmd := exec.Command(path, "-redis.addr", "redis://"+s.addr, "-web.listen-address", web, "-export-client-list", "-set-client-name",
		"-check-single-keys", "db0=app:c1:hash")
	cmd.Stderr = &said
	must(t, cmd.Start())
	end := func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }
	defer end()
	var body string
	testenv.Eventually(t, 30*time.Second, "the exporter answers", func() bool {
		reply, err := http.Get("http://" + web + "/metrics")
		if err != nil {
			return false
		}
		defer reply.Body.Close()
		text, err := io.ReadAll(reply.Body)
		body = string(text)
		return err == nil && strings.Contains(body, "\nredis_up ")
	})
	end()
	for _, want := range []string{`\nredis_up 1\n`, `\nredis_exporter_last_scrape_error\{err=""\} 0\n`, `\nredis_connected_clients \d`,
		`\nredis_commands_total\{cmd="hset"`, `\nredis_slowlog_length \d`, `\nredis_key_size\{db="db0",key="app:c1:hash"\} 2\n`} {
		if !regexp.MustCompile(want).MatchString(body) {
			t.Errorf("redis_exporter shows no %s", want)
		}
	}
	if strings.Contains(said.String(), "level=error") || strings.Contains(said.String(), "level=warn") {
		t.Errorf("redis_exporter complains: %s", said.String())
	}
}
