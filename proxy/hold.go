package proxy

import (
	"fmt"
	"strings"
)

// holdKind is with what a client keeps a session busy for longer than a command takes. The gate needs only busy, which counts
// these too; the kinds are for explanations.
type holdKind uint8

const (
	holdWatch holdKind = iota
	holdQueued
	holdBlocked
	holdKinds
)

var holdTexts = [holdKinds][2]string{
	{"key watched (WATCH)", "keys watched (WATCH)"},
	{"command in an open transaction (MULTI)", "commands in open transactions (MULTI)"},
	{"command that blocks", "commands that block"},
}

// keepBusy counts sessions of touches in (1) or out (-1).
func keepBusy(touches []touch, kind holdKind, n int32) {
	for i := range touches {
		touches[i].ref.keepBusy(kind, n)
	}
}

func (r ref) keepBusy(kind holdKind, n int32) {
	r.sh.Lock()
	defer r.sh.Unlock()
	g := &r.it.Value
	g.detailLocked().holds[kind] += n
	if n < 0 {
		g.restLocked()
	}
}

// usersLocked says what keeps a busy session busy.
func (g *gate) usersLocked() string {
	var parts []string
	others := g.inFlight()
	if g.more != nil {
		for kind, n := range g.more.holds {
			if n > 0 {
				parts = append(parts, fmt.Sprintf("%d %s", n, holdTexts[kind][min(n-1, 1)]))
				others -= n
			}
		}
	}
	if others == 1 {
		parts = append(parts, "1 command under way")
	} else if others > 1 {
		parts = append(parts, fmt.Sprintf("%d commands under way", others))
	}
	return strings.Join(parts, ", ")
}
