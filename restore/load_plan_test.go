package restore

import (
	"strings"
	"testing"
)

// TestLoadReadsNoOtherSession: when Postgres knows that nearly all fields belong to one large hash, reading that hash for every
// other session looks no dearer to it than an index.
func TestLoadReadsNoOtherSession(t *testing.T) {
	s := openStore(t, Config{MaxConns: 1})
	mustSave(t, s, bot("large"), benchKeys(0, 1, 20_000, 500)...)
	mustSave(t, s, bot("strings"), benchKeys(0, 300, 0, 500)...)
	mustSave(t, s, bot("small"), benchKeys(0, 1, 0, 500)...)
	sql(t, s, "VACUUM ANALYZE")
	for name, statement := range map[string]string{"load": loadSQL, "load one": loadOneSQL} {
		plan := genericPlan(t, s, statement)
		for _, want := range []string{"(sid = s.sid)", "(kid = x", "(id = "} {
			if !strings.Contains(plan, want) {
				t.Errorf("%s: the plan has no %q:\n%s", name, want, plan)
			}
		}
		if strings.Contains(plan, "Join Filter") || strings.Contains(plan, "Seq Scan") {
			t.Errorf("%s: the plan reads other sessions too:\n%s", name, plan)
		}
	}
}
