package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// peers are the targets that are somebody else's programs.
var peers = []string{"nutcracker", "haproxy"}

// credproxyMode returns the sync mode that a target's name stands for; not ours: false.
func credproxyMode(name string) (mode string, ours bool) {
	base, mode, found := strings.Cut(name, ":")
	if !found {
		mode = "behind"
	}
	return mode, base == "credproxy"
}

// front is where a proxy stands.
type front struct {
	dir    string // for its configuration
	listen string // host:port for clients
	redis  string // host:port of its Redis
}

// credproxyConfig leaves memory without limit: evictions are not what is measured here.
const credproxyConfig = `listen = %q
maxclients = %d
upstream {
  address = %q
}
keyspace "bench" {
  keys = ["wa:auth:{session}:creds", "wa:auth:{session}:keys"]
}
keyspace "restore" {
  keys = ["restore:{session}:*"]
}
memory {
  max = "1024GB"
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

func (f front) credproxyArgs(mode, dsn string) ([]string, error) {
	path := filepath.Join(f.dir, "proxy.hcl")
	text := fmt.Sprintf(credproxyConfig, f.listen, 2*maxClients, f.redis, dsn, mode)
	return []string{"run", "--config", path}, writeConfig(path, text)
}

// peerArgs configures a peer as its manual advises for one Redis; HAProxy passes bytes on without reading them.
func (f front) peerArgs(name string) ([]string, error) {
	if name == "haproxy" {
		path := filepath.Join(f.dir, "haproxy.cfg")
		text := fmt.Sprintf("global\n  maxconn %d\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n"+
			"  timeout server 1h\nfrontend clients\n  bind %s\n  default_backend redis\nbackend redis\n  server redis %s\n",
			2*maxClients, f.listen, f.redis)
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
	return []string{"-c", path, "-a", host, "-s", port, "-m", strconv.Itoa(1 << 14)}, writeConfig(path, text)
}

func writeConfig(path, text string) error {
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	return nil
}
