package resp

import (
	"maps"
	"net"
	"net/netip"
	"sync"
	"time"
)

// maxDebtors bounds the addresses that are remembered. Those beyond share one entry, until others have paid.
const maxDebtors = 4096

// Debts keeps count of the trouble that each source has made. A source is an IPv4 address, the first half of an IPv6 address (one
// subscriber can use all of the other half), or this machine's Unix sockets. Trouble costs time: a source whose costs exceed the
// allowance has to wait until they do no longer, but never longer than the longest wait. So a source that makes trouble all the time gets a fixed share of the work, and
// one that has stopped is free again after as long as its debt is. Safe for concurrent use.
type Debts struct {
	allowance, longest time.Duration

	mu    sync.Mutex               // guards what is below
	paid  map[netip.Addr]time.Time // when the source will have paid everything; the zero Addr is for those without an entry
	swept time.Time                // when room was last made
}

// NewDebts returns an empty table. Sources wait for what they owe beyond allowance, for longest at most.
func NewDebts(allowance, longest time.Duration) *Debts {
	return &Debts{allowance: allowance, longest: longest, paid: map[netip.Addr]time.Time{}}
}

// Charge adds cost to what a source owes; a negative one is given back.
func (d *Debts) Charge(peer net.Addr, cost time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	key := d.entry(sourceOf(peer), now)
	d.add(key, now, cost)
}

func (d *Debts) add(key netip.Addr, now time.Time, cost time.Duration) {
	most := now.Add(d.allowance + d.longest)
	if at := later(d.paid[key], now).Add(cost); at.Before(most) {
		d.paid[key] = at
		return
	}
	d.paid[key] = most
}

// Turn returns how long a source has to wait before it may do what costs so much. If that is not at once, the cost is charged:
// the next in line waits longer.
func (d *Debts) Turn(peer net.Addr, cost time.Duration) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	key := d.entry(sourceOf(peer), now)
	wait := later(d.paid[key], now).Sub(now) - d.allowance
	if wait <= 0 {
		return 0
	}
	d.add(key, now, cost)
	return wait
}

// entry returns the key under which a source is charged. Who has paid makes room, looked for once a second: with a full table
// that is the expensive part.
func (d *Debts) entry(key netip.Addr, now time.Time) netip.Addr {
	if _, known := d.paid[key]; known || len(d.paid) < maxDebtors {
		return key
	}
	if now.Sub(d.swept) > time.Second {
		d.swept = now
		maps.DeleteFunc(d.paid, func(_ netip.Addr, at time.Time) bool { return at.Before(now) })
	}
	if len(d.paid) < maxDebtors {
		return key
	}
	return netip.Addr{}
}

func sourceOf(peer net.Addr) netip.Addr {
	tcp, ok := peer.(*net.TCPAddr)
	if !ok {
		return netip.IPv4Unspecified() // nobody can come from there
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	if ip.Is6() {
		if half, err := ip.Prefix(64); err == nil {
			ip = half.Addr()
		}
	}
	return ip
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
