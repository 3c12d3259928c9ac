package restore

import (
	"strings"
	"testing"

	"credproxy/internal/session"
	"credproxy/internal/testenv"
)

// The SQL of docs/source.md; TestSourceIsDocumented keeps the two the same.
const (
	sourceDocument = `SELECT 'wa:auth:' || session_id || ':creds', NULL, creds::text
  FROM bot_auth WHERE session_id = $1
UNION ALL
SELECT 'wa:auth:' || session_id || ':keys', k.key, k.value::text
  FROM bot_auth, jsonb_each(keys) AS k WHERE session_id = $1`

	sourceRows = `SELECT 'wa:auth:' || session_id || ':creds', NULL, value
  FROM auth_rows WHERE session_id = $1 AND type = 'creds'
UNION ALL
SELECT 'wa:auth:' || session_id || ':keys', type || '-' || key, value
  FROM auth_rows WHERE session_id = $1 AND type <> 'creds'`

	sourceSessionKey = `SELECT session_key, NULL, data
  FROM public.sessions WHERE session_key = 'sess:' || $1`
)

func TestSourceOfThreeSchemas(t *testing.T) {
	tests := map[string]struct {
		tables, query string
		want          []session.Key
	}{
		"a document per session": {
			`CREATE TABLE bot_auth (session_id text PRIMARY KEY, creds jsonb, keys jsonb);
			INSERT INTO bot_auth VALUES
				('+55', '{"me":{"id":"55@s"},"registered":true,"a":1.50}', '{"pre-key-1":{"public":"AA=="},"lid-1":"x"}'),
				('+66', '{"other":1}', '{}')`,
			sourceDocument,
			[]session.Key{
				// jsonb's own form: members by length and name, a space after ':' and ','.
				putString("wa:auth:+55:creds", `{"a": 1.50, "me": {"id": "55@s"}, "registered": true}`).Key,
				hash("wa:auth:+55:keys", "lid-1", `"x"`, "pre-key-1", `{"public": "AA=="}`),
			}},
		"a row per key": {
			`CREATE TABLE auth_rows (session_id text, type text, key text, value json, PRIMARY KEY (session_id, type, key));
			INSERT INTO auth_rows VALUES
				('+55', 'creds', '', '{"me":{"id":"55@s"},  "b":1,"a":2}'), ('+55', 'pre-key', '1', '{"public":"AA=="}'),
				('+55', 'session', 'x.0', NULL), ('+66', 'creds', '', '{}')`,
			sourceRows,
			[]session.Key{
				putString("wa:auth:+55:creds", `{"me":{"id":"55@s"},  "b":1,"a":2}`).Key, // json keeps every byte
				hash("wa:auth:+55:keys", "pre-key-1", `{"public":"AA=="}`),
			}},
		"a value per session": {
			`CREATE TABLE public.sessions (session_key text PRIMARY KEY, data bytea);
			INSERT INTO public.sessions VALUES ('sess:+55', '\x0001ff2278'), ('sess:+66', 'x')`,
			sourceSessionKey,
			[]session.Key{putString("sess:+55", "\x00\x01\xff\x22x").Key}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dsn := testenv.DSN(t)
			sql(t, openStore(t, Config{DSN: dsn}), tt.tables)
			for _, pooled := range []bool{false, true} {
				s := openStore(t, Config{DSN: dsn, SimpleProtocol: pooled, Source: tt.query})
				equal(t, "has a source", s.HasSource(), true)
				got := mustLoad(t, s, bot("+55"))
				sortKeys(got.Keys)
				equal(t, "snapshot", got, session.Snapshot{FromSource: true, Keys: tt.want})
				for _, id := range []string{"+77", "", "'; --", "\x00", "\xff\xfe", `\x41`} {
					equal(t, "nobody's "+id, mustLoad(t, s, bot(id)), session.Snapshot{})
				}
			}
		})
	}
}

func TestSourceIsDocumented(t *testing.T) {
	doc := readDoc(t, "../docs/source.md")
	for _, query := range []string{sourceDocument, sourceRows, sourceSessionKey} {
		if !strings.Contains(doc, query) {
			t.Errorf("docs/source.md does not hold the tested query %q", query)
		}
	}
}

func TestSourceIsAskedOnlyForWhatIsNotStored(t *testing.T) {
	s := openStore(t, Config{Source: "SELECT 'k:' || $1, NULL, 'of ' || $1 WHERE left($1, 1) = 's'"})
	ids := []session.ID{bot("s1"), bot("stored"), bot("none"), bot("s2"), bot("s1"), bot("removed")}
	mustSave(t, s, bot("stored"))
	if err := s.Delete(testContext(t), []session.Removal{{Session: bot("removed"), Key: "k"}}); err != nil {
		t.Fatal(err)
	}
	before := s.Queries()
	got, err := s.LoadMany(testContext(t), ids, now)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "round trips", s.Queries()-before, 2)
	from := func(name string) session.Snapshot {
		return session.Snapshot{FromSource: true, Keys: []session.Key{putString("k:"+name, "of "+name).Key}}
	}
	equal(t, "snapshots", got, []session.Snapshot{from("s1"), {Found: true}, {}, from("s2"), from("s1"), {}})

	stored, err := s.LoadStored(testContext(t), ids, now)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "without the source", stored, []session.Snapshot{{}, {Found: true}, {}, {}, {}, {}})
	var many []session.ID
	for i := range 3*maxSourceBatch + 1 {
		many = append(many, bot("s"+strings.Repeat("x", i)))
	}
	got, err = s.LoadMany(testContext(t), many, now)
	if err != nil {
		t.Fatal(err)
	}
	for i, id := range many {
		equal(t, id.Name, got[i], from(id.Name))
	}
	plain := openStore(t, Config{})
	keys, err := plain.Source(testContext(t), bot("s1"))
	if plain.HasSource() || keys != nil || err != nil {
		t.Errorf("without a source: %v, %v", keys, err)
	}
}

func TestSourceParameterTypes(t *testing.T) {
	dsn := testenv.DSN(t)
	sql(t, openStore(t, Config{DSN: dsn}), `CREATE TABLE b (id bytea, v bytea); INSERT INTO b VALUES ('\x5c78ff00', '\x00ff');
		CREATE TABLE n (id int, v varchar(20)); INSERT INTO n VALUES (7, 'seven')`)
	for query, want := range map[string]struct{ id, value string }{
		"SELECT 'k', NULL, v FROM b WHERE id = $1":                       {"\\x\xff\x00", "\x00\xff"},
		"SELECT 'k', NULL, v FROM n WHERE id = $1":                       {"7", "seven"},
		"SELECT 'k'::name, NULL::bytea, v::char(6) FROM n WHERE id = $1": {"7", "seven "},
		"SELECT 'k', NULL, to_jsonb(v) FROM n WHERE id::text = $1;\n":    {"7", `"seven"`},
		"SELECT 'k', NULL, '' FROM n WHERE id::text = $1":                {"7", ""},
	} {
		for _, pooled := range []bool{false, true} {
			s := openStore(t, Config{DSN: dsn, Source: query, SimpleProtocol: pooled})
			keys, err := s.Source(testContext(t), bot(want.id))
			if err != nil || len(keys) != 1 || keys[0].Value == nil || string(keys[0].Value) != want.value {
				t.Errorf("%s: %+v, %v; want %q", query, keys, err, want.value)
			}
		}
	}
}

func TestSourceMistakesAreFoundAtTheStart(t *testing.T) {
	dsn := testenv.DSN(t)
	first := openStore(t, Config{DSN: dsn})
	sql(t, first, "CREATE TABLE public.a (id text, v text, n int)")
	limited := limitedUser(t, first)
	for name, tt := range map[string]struct{ query, want string }{
		"syntax":        {"SELEC 1", "syntax error"},
		"no table":      {"SELECT 'k', NULL, v FROM nowhere WHERE id = $1", `relation "nowhere" does not exist`},
		"no parameter":  {"SELECT id, NULL, v FROM public.a", "0 parameters, want one"},
		"two":           {"SELECT id, NULL, v FROM public.a WHERE id = $1 AND v = $2", "2 parameters, want one"},
		"two columns":   {"SELECT id, v FROM public.a WHERE id = $1", "2 columns; want three columns of type text, bytea, json or jsonb"},
		"a number":      {"SELECT id, NULL, n FROM public.a WHERE id = $1", "column 3 (n) has another type"},
		"two commands":  {"SELECT id, NULL, v FROM public.a WHERE id = $1; SELECT 1", "multiple commands"},
		"our own table": {"SELECT session_key, NULL, data FROM sessions WHERE session_key = $1", "public.sessions"},
		"nothing":       {"INSERT INTO public.a VALUES ($1)", "0 columns"},
		"not permitted": {"SELECT id, NULL, v FROM public.a WHERE id = $1", "permission denied"},
	} {
		cfg := Config{DSN: dsn, Source: tt.query}
		if name == "not permitted" {
			cfg.DSN = limited
		}
		_, err := Open(testContext(t), cfg)
		if err == nil || Temporary(err) || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "source query") {
			t.Errorf("%s: %v, want an error with %q", name, err, tt.want)
		}
	}
}

func TestSourceRowsThatMakeNoSense(t *testing.T) {
	for rows, want := range map[string]string{
		"('k', NULL, 'secret'), ('k', 'f', 'secret')":                      `key "k" comes both as a string and with fields`,
		"('k', 'f', 'secret'), ('k', NULL, 'secret')":                      `key "k" comes both as a string and with fields`,
		"('k', NULL, 'secret'), ('k', NULL, 'secret')":                     `key "k" comes twice as a string`,
		"('k', 'f', 'secret'), ('k', 'f', 'secret')":                       `key "k" has field "f" twice`,
		"('k', NULL, 'v'), (NULL, NULL, 'secret')":                         "the first column is null",
		"('k', NULL, 'secret'), ('k', NULL, (1 / (length($1) - 1))::text)": "division by zero",
		"('k', NULL, nextval('n')::text)":                                  "a source may only read",
	} {
		dsn := testenv.DSN(t)
		sql(t, openStore(t, Config{DSN: dsn}), "CREATE SEQUENCE n")
		s := openStore(t, Config{DSN: dsn, Source: "SELECT * FROM (VALUES " + rows + ") r (k, f, v) WHERE $1 <> ''"})
		_, err := s.LoadMany(testContext(t), []session.ID{bot(""), bot("a")}, now)
		if err == nil || Temporary(err) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), `"baileys/a"`) {
			t.Errorf("%s: %v, want a lasting error with %q that names the session", rows, err, want)
			continue
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error shows a value: %v", rows, err)
		}
		if _, err := s.Load(testContext(t), bot("a"), now); err == nil {
			t.Errorf("%s: Load took it for a session that is nowhere", rows)
		}
		equal(t, "another session", mustLoad(t, s, bot("")), session.Snapshot{})
	}
}

// TestSourceTableIsAltered: the operator migrates while the program runs.
func TestSourceTableIsAltered(t *testing.T) {
	dsn := testenv.DSN(t)
	first := openStore(t, Config{DSN: dsn})
	sql(t, first, "CREATE TABLE a (id text, v text); INSERT INTO a VALUES ('x', '{}')")
	s := openStore(t, Config{DSN: dsn, Source: "SELECT 'k', NULL, v FROM a WHERE id = $1", MaxConns: 1})
	for _, step := range []struct{ alter, value string }{
		{"SELECT 1", "{}"}, {"ALTER TABLE a ALTER v TYPE jsonb USING v::jsonb", "{}"}, {"ALTER TABLE a ALTER v TYPE bytea USING '\\xff'", "\xff"},
	} {
		sql(t, first, step.alter)
		keys, err := s.Source(testContext(t), bot("x"))
		if err != nil || len(keys) != 1 || string(keys[0].Value) != step.value {
			t.Errorf("after %s: %+v, %v", step.alter, keys, err)
		}
	}
	sql(t, first, "ALTER TABLE a ALTER v TYPE int USING 1")
	if _, err := s.Source(testContext(t), bot("x")); err == nil || !strings.Contains(err.Error(), "column 3") {
		t.Errorf("a column that became a number: %v", err)
	}
	sql(t, first, "DROP TABLE a")
	if _, err := s.Load(testContext(t), bot("x"), now); err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("a table that is gone: %v", err)
	}
}

// TestSourceCanJoinLargeTables: the settings that suit our own statements are not the source's.
func TestSourceCanJoinLargeTables(t *testing.T) {
	s := openStore(t, Config{Source: `SELECT name, NULL, coalesce(setting, '') FROM pg_settings
		WHERE name IN ('enable_seqscan', 'enable_hashjoin', 'enable_mergejoin', 'plan_cache_mode') AND $1 <> ''`})
	keys, err := s.Source(testContext(t), bot("x"))
	if err != nil || len(keys) != 4 {
		t.Fatalf("%d settings, %v", len(keys), err)
	}
	for _, k := range keys {
		if v := string(k.Value); v != "on" && v != "auto" {
			t.Errorf("%s = %s while the source runs", k.Name, v)
		}
	}
	equal(t, "afterwards", count(t, s, "SELECT count(*) FROM pg_settings WHERE name = 'enable_hashjoin' AND setting = 'off'"), 1)
}
