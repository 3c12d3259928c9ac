package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// spec says what a target is.
type spec struct {
	name      string
	peer      bool   // somebody else's program that may be missing
	program   string // to look for on the path, "": none or credproxy
	mode      string // credproxy's sync mode, "": another program
	clientTLS bool   // clients speak TLS
	redisTLS  bool   // and credproxy to its Redis
	limited   bool   // credproxy gets as much memory as the load says
	build     string // credproxy's program, "": that of the run
	custom    *custom
}

// specs are the targets that --targets knows.
var specs = []spec{
	{name: "direct"},
	{name: "direct:tls", clientTLS: true, redisTLS: true},
	{name: "credproxy", mode: "behind"},
	{name: "credproxy:through", mode: "through"},
	{name: "credproxy:tls", mode: "behind", clientTLS: true},
	{name: "credproxy:tls-both", mode: "behind", clientTLS: true, redisTLS: true},
	{name: "credproxy:limited", mode: "behind", limited: true},
	{name: "nutcracker", peer: true, program: "nutcracker"},
	{name: "haproxy", peer: true, program: "haproxy"},
}

func targetNames() []string {
	var all []string
	for _, s := range specs {
		all = append(all, s.name)
	}
	return all
}

// specsNamed looks names up; more are those of --target.
func specsNamed(names []string, more []spec) []spec {
	var all []spec
	for _, name := range names {
		i := slices.IndexFunc(specs, func(s spec) bool { return s.name == name })
		all = append(all, specs[i])
	}
	return append(all, more...)
}

// custom is a proxy that the user names: one that runs already, or a command that starts it.
type custom struct {
	addr      string   // where it listens; "": it is started
	redisPort int      // where it expects its Redis
	command   []string // with placeholders
}

// placeholders are what a command, and a file that it names, may hold.
const placeholders = "{listen} {listen_host} {listen_port} {redis} {redis_host} {redis_port} {dir} {file:PATH}"

// parseCustom reads "name=host:port,redis=port" or "name=exec program arguments".
func parseCustom(text string) (spec, error) {
	name, what, found := strings.Cut(text, "=")
	wrong := func(why string) (spec, error) {
		return spec{}, fmt.Errorf("--target %q: %s: write name=host:port,redis=port or name=exec program arguments (%s)", text, why, placeholders)
	}
	if !found || name == "" {
		return wrong("no name")
	}
	if slices.Contains(targetNames(), name) {
		return wrong("the name is taken")
	}
	if line, ok := strings.CutPrefix(what, "exec "); ok {
		words := strings.Fields(line)
		if len(words) == 0 {
			return wrong("no program")
		}
		return spec{name: name, custom: &custom{command: words}}, nil
	}
	addr, port, found := strings.Cut(what, ",redis=")
	if _, _, err := net.SplitHostPort(addr); err != nil || !found {
		return wrong("no address, or no port of the Redis behind it")
	}
	all, err := numbers("target", port, 1<<16-1)
	if err != nil || len(all) != 1 {
		return wrong("the port of its Redis is no number")
	}
	return spec{name: name, custom: &custom{addr: addr, redisPort: all[0]}}, nil
}

// parseBuild reads "name=program": credproxy as it was built at another time.
func parseBuild(text string) (spec, error) {
	name, program, _ := strings.Cut(text, "=")
	if name == "" || program == "" || slices.Contains(targetNames(), name) {
		return spec{}, fmt.Errorf("--build %q: write name=program, with a name that no target has", text)
	}
	return spec{name: name, mode: "behind", build: program}, nil
}

// args fills the placeholders of a command in.
func (c *custom) args(f front) ([]string, error) {
	fill, err := f.replacer()
	if err != nil {
		return nil, err
	}
	var all []string
	for _, word := range c.command {
		if path, ok := strings.CutPrefix(word, "{file:"); ok && strings.HasSuffix(path, "}") {
			if word, err = f.fillFile(strings.TrimSuffix(path, "}"), fill); err != nil {
				return nil, err
			}
		}
		all = append(all, fill.Replace(word))
	}
	return all, nil
}

func (f front) replacer() (*strings.Replacer, error) {
	host, port, err := net.SplitHostPort(f.listen)
	if err != nil {
		return nil, fmt.Errorf("fill in address: %w", err)
	}
	redisHost, redisPort, err := net.SplitHostPort(f.redis)
	if err != nil {
		return nil, fmt.Errorf("fill in address: %w", err)
	}
	return strings.NewReplacer("{listen}", f.listen, "{listen_host}", host, "{listen_port}", port, "{redis}", f.redis,
		"{redis_host}", redisHost, "{redis_port}", redisPort, "{dir}", f.dir), nil
}

// fillFile copies a configuration into the target's folder with its placeholders filled in, and returns where.
func (f front) fillFile(path string, fill *strings.Replacer) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read configuration: %w", err)
	}
	to := filepath.Join(f.dir, filepath.Base(path))
	return to, writeConfig(to, fill.Replace(string(text)))
}
