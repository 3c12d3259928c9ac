package clients

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// installTimeout bounds how long the packages may take to come from the registry.
const installTimeout = 3 * time.Minute

// installed is what the tests know of Node, found out once.
var installed struct {
	once    sync.Once
	node    string // path of the program
	major   int
	problem string // why there is no Node or no packages
}

// needNode returns Node's path, with the packages of node/ installed. It skips the test when there is none, or one older than
// a library wants.
func needNode(t *testing.T, least int) string {
	t.Helper()
	installed.once.Do(install)
	if installed.problem != "" {
		lacks(t, installed.problem)
	}
	if installed.major < least {
		skip(t, fmt.Sprintf("this library needs Node %d, here is %d", least, installed.major))
	}
	return installed.node
}

func install() {
	path, err := exec.LookPath("node")
	if err != nil {
		installed.problem = "Node is not installed: clients from npm are not tested"
		return
	}
	version, err := exec.Command(path, "--version").Output()
	if err != nil {
		installed.problem = fmt.Sprintf("%s --version: %v", path, err)
		return
	}
	major, _, _ := strings.Cut(strings.TrimPrefix(string(version), "v"), ".")
	if installed.major, err = strconv.Atoi(major); err != nil {
		installed.problem = fmt.Sprintf("%s says that it is version %q", path, version)
		return
	}
	installed.node = path
	if err := installPackages(); err != nil {
		installed.problem = err.Error()
	}
}

// installPackages fetches what node/package-lock.json names, unless it is there. No script of a package is run.
func installPackages() error {
	lock, err := os.ReadFile("node/package-lock.json")
	if err != nil {
		return fmt.Errorf("read package lock: %w", err)
	}
	want := fmt.Sprintf("%x", sha256.Sum256(lock))
	stamp := filepath.Join("node", "node_modules", ".installed")
	if have, err := os.ReadFile(stamp); err == nil && string(have) == want {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), installTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	cmd.Dir = "node"
	cmd.WaitDelay = time.Second // npm has children
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("packages from npm are not installed: npm ci: %w\n%s", err, out)
	}
	if err := os.WriteFile(stamp, []byte(want), 0o644); err != nil {
		return fmt.Errorf("note what is installed: %w", err)
	}
	return nil
}

// needPython returns the Python that has redis-py: the system's before any other, as the distribution's packages belong to it.
func needPython(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"/usr/bin/python3", "python3"} {
		if path, err := exec.LookPath(name); err == nil && exec.Command(path, "-c", "import redis").Run() == nil {
			return path
		}
	}
	lacks(t, "no Python with redis-py (Debian: python3-redis): it is not tested")
	return ""
}
