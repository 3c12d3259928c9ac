package resp

import (
	"encoding/binary"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

func peer(ip string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: 1} }

// A source that makes trouble gets its share, others and it itself, once it has stopped, are free.
func TestDebts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := NewDebts(100*time.Millisecond, 5*time.Second)
		bad, good := peer("192.0.2.1"), peer("192.0.2.2")
		const cost = 10 * time.Millisecond
		begun, done := time.Now(), 0
		for time.Since(begun) < 10*time.Second {
			wait := d.Turn(bad, cost)
			if wait == 0 {
				d.Charge(bad, cost)
			}
			if d.Turn(good, cost) != 0 {
				t.Fatal("another source waits")
			}
			time.Sleep(wait)
			done++
		}
		if done < 1000 || done > 1012 {
			t.Errorf("%d in 10 s, want one every 10 ms and ten more", done)
		}
		time.Sleep(200 * time.Millisecond)
		if wait := d.Turn(bad, cost); wait != 0 {
			t.Errorf("who has stopped waits %v", wait)
		}
		for range 10_000 {
			d.Charge(bad, cost)
		}
		if wait := d.Turn(bad, cost); wait != 5*time.Second {
			t.Errorf("the longest wait is %v", wait)
		}
	})
}

func TestSources(t *testing.T) {
	for _, tc := range []struct {
		a, b net.Addr
		same bool
	}{
		{peer("192.0.2.1"), peer("192.0.2.1"), true},
		{peer("192.0.2.1"), peer("::ffff:192.0.2.1"), true},
		{peer("192.0.2.1"), peer("192.0.2.2"), false},
		{peer("2001:db8::1"), peer("2001:db8::ffff:0:0:2"), true},
		{peer("2001:db8::1"), peer("2001:db8:0:1::1"), false},
		{&net.UnixAddr{Name: "a"}, &net.UnixAddr{Name: "b"}, true},
		{&net.UnixAddr{Name: "a"}, peer("127.0.0.1"), false},
	} {
		if got := sourceOf(tc.a) == sourceOf(tc.b); got != tc.same {
			t.Errorf("%v and %v: %v", tc.a, tc.b, got)
		}
	}
}

// However many addresses make trouble, the table stays small, and it forgets who has paid.
func TestDebtorsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := NewDebts(time.Millisecond, time.Second)
		ip := make(net.IP, 4)
		for i := range 3 * maxDebtors {
			binary.BigEndian.PutUint32(ip, uint32(i+1))
			d.Charge(&net.TCPAddr{IP: ip}, time.Second)
		}
		if n := len(d.paid); n > maxDebtors+1 {
			t.Errorf("%d are remembered", n)
		}
		if d.Turn(peer("203.0.113.1"), time.Millisecond) == 0 {
			t.Error("who finds no room is not charged with the others")
		}
		time.Sleep(3 * time.Second)
		d.Charge(peer("203.0.113.1"), 10*time.Millisecond)
		if n := len(d.paid); n != 1 {
			t.Errorf("%d are remembered when all have paid", n)
		}
	})
}
