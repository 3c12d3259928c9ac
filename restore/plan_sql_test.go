package restore

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// TestNoPlanIsQuadratic looks at the plans that Postgres makes once and for all while it knows nothing of the tables: the
// first saves of a new installation decide them, on empty tables and on small ones. A join filter compares each with each, as does a look-up by a part of an index.
func TestNoPlanIsQuadratic(t *testing.T) {
	s := openStore(t, Config{MaxConns: 1})
	for _, keys := range []int{0, 10, 300, 3_000} {
		t.Run(fmt.Sprint(keys, " keys"), func(t *testing.T) {
			if keys > 0 {
				mustSave(t, s, bot("a"), benchKeys(0, keys, 0, 500)...)
				mustSave(t, s, bot("a"), benchKeys(0, 1, keys, 500)...)
			}
			checkPlans(t, s)
		})
	}
}

func checkPlans(t *testing.T, s *Store) {
	for name, statement := range map[string]string{
		"resolve": resolveSQL, "heat": heatSQL, "fence": fenceSQL, "highest": highestSQL,
		"load": loadSQL, "load one": loadOneSQL,
		"delete keys": deleteKeysSQL, "delete fields": deleteFieldsSQL, "delete empty": deleteEmptySQL,
		"drop keys": dropKeysSQL, "drop fields": dropFieldsSQL, "headers": headersSQL, "expiries": expiriesSQL,
		"hashes": hashesSQL, "del fields": delFieldsSQL, "put fields": putFieldsSQL, "drop empty": dropEmptySQL,
		"direct put": directPutSQL, "direct patch": directPatchSQL, "heat one": heatOneSQL,
		"forget": forgetSQL, "forget keys": forgetKeysSQL, "purge": purgeSQL, "expired": expiredSQL,
		"stub fields": stubFieldsSQL, "stub aside": stubAsideSQL, "stub keys": stubKeysSQL, "stub rest": stubRestSQL,
		"stub session": stubSessionSQL, "back keys": backKeysSQL, "back session": backSessionSQL, "kept": keptSQL,
	} {
		plan := genericPlan(t, s, statement)
		for _, bad := range []string{"Join Filter", "Seq Scan", "Filter: (key = ", "Filter: (field = ", "Filter: (id = "} {
			if strings.Contains(plan, bad) {
				t.Errorf("%s: the plan has a %q:\n%s", name, bad, plan)
			}
		}
		for _, column := range []string{"key", "field", "id"} {
			if strings.Contains(statement, "x."+column+" = ") && !strings.Contains(plan, "AND ("+column+" = ") {
				t.Errorf("%s: no look-up by %s in the plan:\n%s", name, column, plan)
			}
		}
	}
}

func genericPlan(t *testing.T, s *Store, statement string) string {
	t.Helper()
	params := 0
	for strings.Contains(statement, fmt.Sprint("$", params+1)) {
		params++
	}
	sql(t, s, "PREPARE p AS "+statement)
	defer sql(t, s, "DEALLOCATE p")
	rows, err := s.pool.Query(testContext(t), "EXPLAIN EXECUTE p ("+strings.Repeat("NULL,", params-1)+"NULL)", pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}
