package clients

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// process is a running proxy.
type process struct {
	cmd     *exec.Cmd
	serving chan struct{} // closed when it says that it serves
	ended   chan struct{} // closed when it has been reaped
	mu      sync.Mutex    // guards log
	log     bytes.Buffer
}

// startProxy starts the program and collects its log; the test's end kills it.
func startProxy(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{cmd: cmd, serving: make(chan struct{}), ended: make(chan struct{})}
	stderr, err := cmd.StderrPipe()
	must(t, err)
	must(t, startTied(cmd, func() { p.collect(stderr) }, p.ended))
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("the proxy said:\n%s", p.said())
		}
	})
	return p
}

func (p *process) collect(stderr io.Reader) {
	serves := sync.OnceFunc(func() { close(p.serving) })
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		if strings.Contains(lines.Text(), `"@message":"serving"`) {
			serves()
		}
		p.mu.Lock()
		p.log.WriteString(lines.Text() + "\n")
		p.mu.Unlock()
	}
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill() // an error: it is gone already
	<-p.ended
}

func (p *process) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// complaints returns the lines of the log that an operator would have to act upon.
func (p *process) complaints() string {
	var bad []string
	for _, text := range strings.Split(p.said(), "\n") {
		var line struct {
			Level string `json:"@level"`
		}
		if json.Unmarshal([]byte(text), &line) == nil && (line.Level == "warn" || line.Level == "error") {
			bad = append(bad, text)
		}
	}
	return strings.Join(bad, "\n")
}
