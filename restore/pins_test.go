package restore

import (
	"slices"
	"strings"
	"testing"

	"credproxy/internal/session"
)

func TestPins(t *testing.T) {
	s := openStore(t, Config{})
	mustSave(t, s, bot("b"), putString("k", "v"))
	sql(t, s, "UPDATE credproxy.sessions SET last_access = 7, hits = 8, bytes = 9")
	stored := session.Summary{Session: bot("b"), Heat: session.Heat{LastAccess: 7, Hits: 8, Bytes: 9}}
	odd := session.ID{DB: 3, Keyspace: "evolution", Name: strings.Repeat("long\x00", 400)}
	for range 2 { // pinning twice is pinning
		for _, id := range []session.ID{bot("a"), bot("b"), odd} {
			if err := s.Pin(testContext(t), id, true); err != nil {
				t.Fatal(err)
			}
		}
	}
	pinned := func() []session.Summary {
		t.Helper()
		list, err := openStore(t, Config{DSN: s.pool.Config().ConnString()}).Pins(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		slices.SortFunc(list, func(a, b session.Summary) int { return compareID(a.Session, b.Session) })
		return list
	}
	equal(t, "pinned", pinned(), []session.Summary{{Session: bot("a")}, stored, {Session: odd}})
	for range 2 {
		for _, id := range []session.ID{odd, bot("a")} {
			if err := s.Pin(testContext(t), id, false); err != nil {
				t.Fatal(err)
			}
		}
	}
	equal(t, "pinned after two were let go", pinned(), []session.Summary{stored})
}
