package sdnotify

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// manager is the service manager's end of the socket.
func manager(t *testing.T, name string) *net.UnixConn {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func heard(t *testing.T, c *net.UnixConn) string {
	t.Helper()
	b := make([]byte, 4096)
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	n, err := c.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n])
}

func TestLinesArriveTogether(t *testing.T) {
	for _, path := range []string{filepath.Join(t.TempDir(), "notify"), "@credproxy-test-" + strconv.Itoa(os.Getpid())} {
		c := manager(t, path)
		t.Setenv("NOTIFY_SOCKET", path)
		n := FromEnv(false)
		if err := n.Send(Ready, Status("two\nlines"), MainPID(17)); err != nil {
			t.Fatal(err)
		}
		if got := heard(t, c); got != "READY=1\nSTATUS=two lines\nMAINPID=17" {
			t.Errorf("%s: heard %q", path, got)
		}
		if err := n.Send(Reloading()); err != nil {
			t.Fatal(err)
		}
		usec, ok := strings.CutPrefix(heard(t, c), "RELOADING=1\nMONOTONIC_USEC=")
		if at, err := strconv.ParseInt(usec, 10, 64); !ok || err != nil || at <= 0 {
			t.Errorf("reloading at %q", usec)
		}
	}
}

func TestNobodyListens(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	n := FromEnv(false)
	if err := n.Send(Ready); n != nil || err != nil || n.Watchdog() != 0 {
		t.Errorf("without systemd: %v, %v", n, err)
	}
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "gone"))
	if err := FromEnv(false).Send(Ready); err == nil {
		t.Error("nobody hears, and nobody is told")
	}
}

func TestWatchdogIsForThisProcess(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "/nowhere")
	t.Setenv("WATCHDOG_USEC", "30000000")
	for _, c := range []struct {
		pid       string
		successor bool
		want      time.Duration
	}{{"", false, 30 * time.Second}, {strconv.Itoa(os.Getpid()), false, 30 * time.Second}, {"1", false, 0}, {"1", true, 30 * time.Second}} {
		t.Setenv("WATCHDOG_PID", c.pid)
		if got := FromEnv(c.successor).Watchdog(); got != c.want {
			t.Errorf("pid %q, successor %v: %v, want %v", c.pid, c.successor, got, c.want)
		}
	}
}

// A child plays the service; its shell is replaced by it, so that LISTEN_PID is its number.
func TestSocketsOfTheManager(t *testing.T) {
	if os.Getenv("SDNOTIFY_TEST_CHILD") != "" {
		t.Skip("this is the child")
	}
	cmd := exec.Command("sh", "-c", `LISTEN_PID=$$ exec "$0" -test.run TestChildTakesSockets -test.v`, os.Args[0])
	cmd.Env = append(os.Environ(), "SDNOTIFY_TEST_CHILD=1", "LISTEN_FDS=2", "LISTEN_FDNAMES=admin:redis")
	for range 2 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		f, err := ln.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
		cmd.Env = append(cmd.Env, "PORT"+strconv.Itoa(len(cmd.ExtraFiles))+"="+ln.Addr().String())
	}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestChildTakesSockets") {
		t.Errorf("%v:\n%s", err, out)
	}
}

func TestChildTakesSockets(t *testing.T) {
	if os.Getenv("SDNOTIFY_TEST_CHILD") == "" {
		t.Skip("a part of TestSocketsOfTheManager")
	}
	s, err := Listeners()
	if err != nil {
		t.Fatal(err)
	}
	admin, err := s.Take("admin")
	if err != nil || admin == nil || admin.Addr().String() != os.Getenv("PORT1") {
		t.Fatalf("admin: %v, %v", admin, err)
	}
	first, err := s.TakeFirst()
	if err != nil || first == nil || first.Addr().String() != os.Getenv("PORT2") {
		t.Fatalf("the first: %v, %v", first, err)
	}
	if more, err := s.TakeFirst(); more != nil || err != nil {
		t.Errorf("one more: %v, %v", more, err)
	}
	if os.Getenv("LISTEN_FDS") != "" {
		t.Error("children of this process would take the sockets for theirs")
	}
}
