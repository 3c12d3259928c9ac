package proxy

import (
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The kernel is told to look after silent clients as Redis tells it.
func TestKeepAlive(t *testing.T) {
	for after, want := range map[time.Duration][4]int{
		300 * time.Second: {1, 300, 100, 3},
		2 * time.Second:   {1, 2, 1, 3},
		0:                 {0, 0, 0, 0},
	} {
		ln, err := listen("127.0.0.1:0", Exposure{KeepAlive: after})
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		client, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		nc, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		raw, err := nc.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		var got [4]int
		_ = raw.Control(func(fd uintptr) {
			for i, o := range [][2]int{{syscall.SOL_SOCKET, syscall.SO_KEEPALIVE}, {syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE},
				{syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL}, {syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT}} {
				if got[i], err = syscall.GetsockoptInt(int(fd), o[0], o[1]); err != nil {
					t.Fatal(err)
				}
			}
		})
		if after == 0 {
			got = [4]int{got[0]} // the rest does not count
		}
		if got != want {
			t.Errorf("tcp_keepalive %v: %v, want %v", after, got, want)
		}
	}
}

func TestClientsWithin(t *testing.T) {
	for _, tc := range []struct {
		limit        uint64
		wanted, want int
	}{
		{1 << 20, 10000, 10000}, {10000 + ownDescriptors, 10000, 10000}, {10000, 10000, 10000 - ownDescriptors}, {1024, 10000, 832},
		{64, 10000, 1}, {^uint64(0), 10000, 10000},
	} {
		if got := clientsWithin(tc.limit, tc.wanted); got != tc.want {
			t.Errorf("%d of %d open files: %d, want %d", tc.wanted, tc.limit, got, tc.want)
		}
	}
	if s := acceptRemedy(&net.OpError{Op: "accept", Err: syscall.ENFILE}); !strings.Contains(s, "fs.file-max") {
		t.Errorf("ENFILE: %q", s)
	}
}
