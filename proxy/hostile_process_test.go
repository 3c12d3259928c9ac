package proxy_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// hostileEnv names, in a process that is to be a hostile client, the kind and the address of the proxy, a line each.
const hostileEnv = "CREDPROXY_TEST_HOSTILE"

// control is the kind that leaves the proxy alone: it keeps every processor busy with itself. What the others feel of it is what
// sharing a machine with such a process costs.
const control = "control"

func playControl(h *hostile) {
	for range runtime.NumCPU() {
		h.wg.Go(func() {
			for h.running() {
			}
		})
	}
	<-h.stop
}

// runHostile is the life of such a process: it ends when its standard input does.
func runHostile(spec string) {
	yieldToAll()
	name, addr, _ := strings.Cut(spec, "\n")
	kind := hostiles[name]
	if name == control {
		kind = playControl
	}
	h := &hostile{addr: addr}
	h.run(kind, func() {
		fmt.Println("begun")
		_, _ = io.Copy(io.Discard, os.Stdin)
	})
}

// yieldToAll lets the process have what processor time nobody else wants (SCHED_IDLE).
//
// A hostile client that matters is on another machine. Here it shares two cores with the proxy, Redis and those who are measured,
// and runs as fast as it can: most of what they would feel is its own processor time, of which the proxy would never hear.
// What it makes the proxy, Redis and the kernel do still runs in full, against everybody, which is what is to be measured. Who
// means well has pauses (see measure), as otherwise nothing would be left over for an attack.
func yieldToAll() {
	const schedIdle = 5
	tasks, err := os.ReadDir("/proc/self/task") // threads that come later inherit it
	if err != nil {
		fmt.Fprintln(os.Stderr, "hostile client: list threads:", err)
	}
	for _, task := range tasks {
		tid, _ := strconv.Atoi(task.Name())
		priority := int32(0)
		_, _, errno := syscall.Syscall(syscall.SYS_SCHED_SETSCHEDULER, uintptr(tid), schedIdle, uintptr(unsafe.Pointer(&priority)))
		if errno != 0 {
			fmt.Fprintln(os.Stderr, "hostile client: lower its priority:", errno)
		}
	}
}

// attack runs one kind in a process of its own while during runs, and returns the processor time that it took.
func attack(t *testing.T, kind, addr string, during func()) time.Duration {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), hostileEnv+"="+kind+"\n"+addr)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	end := sync.OnceFunc(func() { in.Close(); _ = cmd.Wait() })
	defer end()
	if _, err := out.Read(make([]byte, 100)); err != nil {
		t.Fatalf("hostile process: %v", err)
	}
	during()
	end()
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
}

// processorTime reads how much a process has used.
func processorTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	must(t, err)
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest) // from the third on: utime and stime are the 14th and 15th, in hundredths of a second
	user, err := strconv.ParseInt(fields[11], 10, 64)
	must(t, err)
	system, err := strconv.ParseInt(fields[12], 10, 64)
	must(t, err)
	return time.Duration(user+system) * 10 * time.Millisecond
}
