// Package docs_test checks what the documents say against the files and the program: links and anchors, blocks of
// configuration, and the keys that are said to belong to a session.
package docs_test

import (
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"credproxy/cmd/credproxy/config"
	"credproxy/keyspace"
)

// documents are all that are for readers, by path.
func documents(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for _, pattern := range []string{"../*.md", "*.md", "../deploy/*.md", "../bench/*.md"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			texts[absolute(t, path)] = string(data)
		}
	}
	if len(texts) < 10 {
		t.Fatalf("only %d documents found", len(texts))
	}
	return texts
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var (
	fenced   = regexp.MustCompile("(?ms)^[ ]*```([a-z]*)\n(.*?)^[ ]*```")
	link     = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading  = regexp.MustCompile(`(?m)^#+ +(.*)$`)
	inCode   = regexp.MustCompile("`[^`\n]+`")
	linkText = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
)

// anchors are the names that headings get: lower case, spaces to dashes, punctuation dropped.
func anchors(text string) map[string]bool {
	names := map[string]bool{}
	for _, h := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
		var name strings.Builder
		for _, r := range strings.ToLower(linkText.ReplaceAllString(h[1], "$1")) {
			switch {
			case r == ' ':
				name.WriteByte('-')
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				name.WriteRune(r)
			}
		}
		names[name.String()] = true
	}
	return names
}

func TestLinks(t *testing.T) {
	texts := documents(t)
	for path, text := range texts {
		plain := inCode.ReplaceAllStringFunc(fenced.ReplaceAllString(text, ""), func(code string) string { return strings.Repeat("x", len(code)) })
		for _, found := range link.FindAllStringSubmatch(plain, -1) {
			u, err := url.Parse(found[1])
			if err != nil {
				t.Errorf("%s: %s: %v", path, found[1], err)
				continue
			}
			if u.Scheme != "" {
				continue
			}
			target := path
			if u.Path != "" {
				target = filepath.Join(filepath.Dir(path), u.Path)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: link to %s: there is no such file", path, found[1])
				continue
			}
			if u.Fragment != "" && !anchors(texts[target])[u.Fragment] {
				t.Errorf("%s: link to %s: no heading of that name", path, found[1])
			}
		}
	}
}

// complete makes a file of a block: what it lacks is added.
func complete(block string) string {
	if !strings.Contains(block, "keyspace ") {
		block += "\nkeyspace \"other\" { keys = [\"other-store:{session}\"] }\n"
	}
	if !strings.Contains(block, "restore {") {
		block += "\nrestore { postgres = \"host=x\" }\n"
	}
	return block
}

// Every block of configuration is one that the program takes, and the keys listed behind a block are those of it.
func TestConfiguration(t *testing.T) {
	t.Setenv("DATABASE_URL", "postgres://localhost/wa")
	blocks, keys := 0, 0
	for path, text := range documents(t) {
		var matcher *keyspace.Matcher
		for _, found := range fenced.FindAllStringSubmatch(text, -1) {
			switch found[1] {
			case "hcl":
				blocks++
				c, err := config.Parse(path, []byte(complete(found[2])))
				if err != nil {
					t.Errorf("%s: %v in\n%s", path, err, found[2])
					continue
				}
				if matcher, err = keyspace.Compile(c.Keyspaces); err != nil {
					t.Errorf("%s: %v", path, err)
				}
			case "keys":
				for line := range strings.Lines(found[2]) {
					keys++
					key, session, _ := strings.Cut(strings.TrimSpace(line), " -> ")
					db := 0
					if s := matcher.Spec(0); s.DB > 0 {
						db = s.DB
					}
					if _, id, ok := matcher.Match(db, []byte(key)); !ok || string(id) != session {
						t.Errorf("%s: key %s is said to be of session %s, and is of %q", path, key, session, id)
					}
				}
			}
		}
	}
	if blocks < 20 || keys < 15 {
		t.Errorf("only %d blocks and %d keys found", blocks, keys)
	}
}

// The files in deploy/ are configurations that the program takes, too.
func TestDeployed(t *testing.T) {
	t.Setenv("DATABASE_URL", "postgres://localhost/wa")
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("0123456789abcdef01234567"), 0o600); err != nil {
		t.Fatal(err)
	}
	inside := regexp.MustCompile(`(?m)^  proxy\.hcl: \|\n((?:    .*\n|\n)+)`)
	mounted := regexp.MustCompile(`"/run/secrets/[^"]*"`)
	for path, all := range map[string]bool{"../deploy/compose/proxy.hcl": true, "../deploy/kubernetes/sidecar.yaml": false, "../deploy/kubernetes/proxy.yaml": false} {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		src := string(data)
		if !all {
			found := inside.FindStringSubmatch(src)
			if found == nil {
				t.Errorf("%s: no proxy.hcl in it", path)
				continue
			}
			src = found[1]
		}
		if _, err := config.Parse(path, []byte(mounted.ReplaceAllString(src, `"`+secret+`"`))); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}
