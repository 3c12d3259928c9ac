package proxy

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"credproxy/internal/poll"
	"credproxy/internal/resp"
)

// vanishEnv says that the process has a network of its own, which the test may take down.
const vanishEnv = "CREDPROXY_TEST_VANISH"

// TestVanishedClients: clients whose machine is gone, without a word from it, are found and everything of theirs is given back: silent
// ones by tcp_keepalive, those who have not taken their replies by the time that a write may take. The network is one of the test's
// own, whose only link goes down.
func TestVanishedClients(t *testing.T) {
	if os.Getenv(vanishEnv) != "" {
		vanish(t)
		return
	}
	if out, err := exec.Command("unshare", "-Urn", "true").CombinedOutput(); err != nil {
		t.Skipf("no network namespaces here: %v %s", err, out)
	}
	cmd := exec.Command("unshare", "-Urn", os.Args[0], "-test.run", "^TestVanishedClients$", "-test.v")
	cmd.Env = append(os.Environ(), vanishEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestVanishedClients") {
		t.Fatalf("%v\n%s", err, out)
	}
}

func vanish(t *testing.T) {
	link(t, true)
	ln, err := listen("127.0.0.1:0", Exposure{KeepAlive: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	p, err := poll.New()
	if err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	go func() { p.Run(time.Second, func([]poll.Event) {}); close(over) }()
	defer func() { p.Stop(); <-over }()
	polled := false
	l := resp.NewListener(ln, resp.ListenerConfig{WriteTimeout: 2 * time.Second, Adopt: func(nc net.Conn) net.Conn {
		if polled = !polled; polled { // as a lane's clients, and as others
			if pc, err := p.Adopt(nc); err == nil {
				return pc
			}
		}
		return nc
	}})
	const clients = 4
	served := make(chan *resp.Conn, clients)
	ended := make(chan error, clients)
	var ours []*resp.Conn
	for i := range clients {
		client, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		if _, err := client.Write([]byte("*2\r\n$4\r\nECHO\r\n$100\r\nhalf a comm")); err != nil {
			t.Fatal(err)
		}
		go func() {
			nc, err := l.Accept()
			if err != nil {
				ended <- err
				return
			}
			c := nc.(*resp.Conn)
			c.SetAuthenticated(true)
			if i >= clients/2 { // replies that the client does not take
				_, _ = c.Write(make([]byte, 6<<20)) // as much as is kept, and the kernel takes
			}
			served <- c
			_, err = c.Read(make([]byte, 4096))
			c.Close()
			ended <- err
		}()
		ours = append(ours, <-served)
	}
	if !ours[clients-1].Unsent() {
		t.Fatal("the kernel has taken everything: nothing was tried")
	}
	link(t, false)
	for range clients {
		select {
		case err := <-ended:
			t.Logf("a client has ended: %v", err)
		case <-time.After(time.Minute):
			t.Fatal("a client that has vanished is still there")
		}
	}
	for i, c := range ours {
		if c.Unsent() {
			t.Errorf("replies for client %d are still kept", i)
		}
	}
	if n := l.Count(); n != 0 {
		t.Errorf("%d clients are still counted", n)
	}
}

// link takes the namespace's only link up or down.
func link(t *testing.T, up bool) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	req := struct {
		name  [syscall.IFNAMSIZ]byte
		flags uint16
		_     [22]byte
	}{}
	copy(req.name[:], "lo")
	if up {
		req.flags = syscall.IFF_UP
	}
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), syscall.SIOCSIFFLAGS, uintptr(unsafe.Pointer(&req))); errno != 0 {
		t.Fatalf("take the link up (%v): %v", up, errno)
	}
}
