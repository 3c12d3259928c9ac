package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
)

// front is where a proxy stands.
type front struct {
	dir      string    // for its configuration
	listen   string    // host:port for clients
	redis    string    // host:port of its Redis
	identity *identity // for TLS, nil: none
}

// credproxyConfig has the patterns of all loads.
const credproxyConfig = `listen = %q
maxclients = %d
%s
upstream {
  address = %q
  %s
}
keyspace "bench" {
  keys = ["wa:auth:{session}:creds", "wa:auth:{session}:keys"]
}
keyspace "strings" {
  keys = ["bot:{session}:*"]
}
keyspace "restore" {
  keys = ["restore:{session}:*"]
}
memory {
  max = "%dB"
  check_interval = %q
}
restore {
  postgres = %q
  sync = %q
}
admin {
  listen = ""
}
log {
  level = "warn"
}
`

// unlimited is as good as no limit: evictions are measured only where a load asks for them.
const unlimited = 1 << 40

func (f front) credproxyFile() string { return filepath.Join(f.dir, "proxy.hcl") }

func (f front) credproxyArgs(what spec, dsn string) ([]string, error) {
	return []string{"run", "--config", f.credproxyFile()}, f.writeCredproxy(what, dsn, 0)
}

// writeCredproxy writes the configuration with a memory budget, 0 for none.
func (f front) writeCredproxy(what spec, dsn string, budget int64) error {
	interval := "1s"
	if budget == 0 {
		budget, interval = unlimited, "5m"
	}
	ours, upstream := "", ""
	if what.clientTLS {
		ours = fmt.Sprintf("tls {\n  cert = %q\n  key = %q\n}", f.identity.cert, f.identity.key)
	}
	if what.redisTLS {
		upstream = fmt.Sprintf("tls {\n    ca = %q\n  }", f.identity.cert)
	}
	text := fmt.Sprintf(credproxyConfig, f.listen, connLimit, ours, f.redis, upstream, budget, interval, dsn, what.mode)
	return writeConfig(f.credproxyFile(), text)
}

// peerArgs configures a peer as its manual advises for one Redis; HAProxy passes bytes on without reading them.
func (f front) peerArgs(name string) ([]string, error) {
	if name == "haproxy" {
		path := filepath.Join(f.dir, "haproxy.cfg")
		text := fmt.Sprintf("global\n  maxconn %d\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n"+
			"  timeout server 1h\nfrontend clients\n  bind %s\n  default_backend redis\nbackend redis\n  server redis %s\n",
			maxClients+1000, f.listen, f.redis)
		return []string{"-db", "-f", path}, writeConfig(path, text)
	}
	stats, err := freeAddr()
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(stats)
	if err != nil {
		return nil, fmt.Errorf("configure %s: %w", name, err)
	}
	path := filepath.Join(f.dir, "nutcracker.yml")
	text := fmt.Sprintf("bench:\n  listen: %s\n  redis: true\n  hash: fnv1a_64\n  distribution: ketama\n  servers:\n   - %s:1\n",
		f.listen, f.redis)
	// Debian's build logs to a folder of its own service by default, into which not everybody may write.
	return []string{"-c", path, "-a", host, "-s", port, "-m", strconv.Itoa(1 << 14), "-o", "/dev/stderr",
		"-p", filepath.Join(f.dir, "nutcracker.pid")}, writeConfig(path, text)
}

func writeConfig(path, text string) error {
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	return nil
}
