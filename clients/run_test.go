package clients

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
)

// restartLine is what a script prints when it wants the proxy killed and started again; it goes on after an empty line.
const restartLine = "@restart"

// running is a script at work.
type running struct {
	t      *testing.T
	cmd    *exec.Cmd
	in     io.WriteCloser
	lines  chan string // what it prints; closed at its end
	ended  chan struct{}
	errors bytes.Buffer
}

// start runs a script with more environment; words are its file and its arguments.
func start(t *testing.T, program string, words []string, env ...string) *running {
	t.Helper()
	r := &running{t: t, cmd: exec.CommandContext(t.Context(), program, words...), lines: make(chan string), ended: make(chan struct{})}
	r.cmd.Dir = folder(words[0])
	r.cmd.Env = append(os.Environ(), env...)
	r.cmd.Stderr = &r.errors
	var err error
	r.in, err = r.cmd.StdinPipe()
	must(t, err)
	out, err := r.cmd.StdoutPipe()
	must(t, err)
	must(t, startTied(r.cmd, func() { r.read(out) }, r.ended))
	return r
}

func (r *running) read(out io.Reader) {
	defer close(r.lines)
	in := bufio.NewScanner(out)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		select {
		case r.lines <- in.Text():
		case <-r.t.Context().Done(): // the test has failed and wants no more
		}
	}
}

// transcript returns the lines that the script prints until it ends, which it must do without an error.
func (r *running) transcript(restart func()) []string {
	r.t.Helper()
	var lines []string
	for text := range r.lines {
		if text != restartLine {
			lines = append(lines, text)
			continue
		}
		restart()
		_, err := io.WriteString(r.in, "\n")
		must(r.t, err)
	}
	<-r.ended
	if state := r.cmd.ProcessState; !state.Success() {
		r.t.Fatalf("the script ended with %v after line %d, %s\n%s", state, len(lines), line(lines, len(lines)-1), &r.errors)
	}
	return lines
}

// startTied starts a process that the kernel ends with this one. read takes its output until it ends; then ended is closed.
func startTied(cmd *exec.Cmd, read func(), ended chan struct{}) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // the death signal is tied to this thread, which ends with this goroutine
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		read()
		_ = cmd.Wait() // ProcessState tells
		close(ended)
	}()
	return <-started
}

// folder returns where a script lies.
func folder(script string) string {
	if filepath.Ext(script) == ".py" {
		return "python"
	}
	return "node"
}
