package config

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// inBlock writes a line of the file inside a block of the reference.
func inBlock(path, line string) string {
	heads := map[string]string{"auth.user": `user "u"`, "keyspace": `keyspace "k"`}
	parts := strings.Split(path, ".")
	if path == "" {
		parts = nil
	}
	for i := len(parts); i > 0; i-- {
		head := parts[i-1]
		if h := heads[strings.Join(parts[:i], ".")]; h != "" {
			head = h
		}
		line = head + " {\n" + line + "\n}"
	}
	return line + "\n"
}

// The decoder lists what it knows in a block when it meets a name that it does not: that list and the reference's must be
// the same, so no setting is left out and none is invented.
func TestReferenceIsComplete(t *testing.T) {
	listed := regexp.MustCompile(`unknown name "nothing": known here are (.*)`)
	blocks := referenceBlocks()
	for _, b := range blocks {
		var documented []string
		for _, s := range b.settings {
			documented = append(documented, s.name)
		}
		for _, inner := range blocks {
			if name := strings.TrimPrefix(inner.path, b.path+"."); inner.path != "" && join(b.path, name) == inner.path && !strings.Contains(name, ".") {
				documented = append(documented, name)
			}
		}
		slices.Sort(documented)
		_, err := Parse("proxy.hcl", []byte(inBlock(b.path, "nothing = 1")))
		found := listed.FindStringSubmatch(fmt.Sprint(err))
		if found == nil {
			t.Errorf("block %q: no list of what is known in: %v", b.path, err)
			continue
		}
		if want := strings.Join(documented, ", "); found[1] != want {
			t.Errorf("block %q: the decoder knows %s\nreference_table.go documents %s", b.path, found[1], want)
		}
	}
}

// What the reference says that a setting takes is what the decoder wants.
func TestReferenceKinds(t *testing.T) {
	for _, b := range referenceBlocks() {
		for _, s := range b.settings {
			if s.text == "" {
				t.Errorf("%s has no text", join(b.path, s.name))
			}
			value, remedy := `"x"`, ""
			switch s.kind {
			case aText:
				value, remedy = `["x"]`, `write text in "quotes"`
			case aWord:
				remedy = "write one of " + strings.Join(s.words, ", ")
			case aSize:
				remedy = "is not a size"
			case aDuration:
				remedy = "is not a duration"
			case aNumber:
				remedy = "write a whole number"
			case aBoolean:
				remedy = "write true or false"
			case aMode:
				remedy = "are no permissions"
			case aList:
				remedy = "write a list"
			}
			src := inBlock(b.path, s.name+" = "+value)
			if _, err := Parse("proxy.hcl", []byte(src)); err == nil || !strings.Contains(err.Error(), s.name+" ") || !strings.Contains(err.Error(), remedy) {
				t.Errorf("%s is documented as %s; %s gives: %v", join(b.path, s.name), s.kind, value, err)
			}
		}
	}
}

// A default that `check` prints stands in the reference, with its setting.
func TestReferenceHasEveryDefault(t *testing.T) {
	text := string(Reference())
	left := defaultValues()
	for _, b := range referenceBlocks() {
		for _, s := range b.settings {
			path := join(b.path, s.name)
			row := fmt.Sprintf("| `%s` | %s | %s | %s |", s.name, s.takes(), s.shownDefault(left[path]), s.reload())
			if !strings.Contains(text, row) {
				t.Errorf("%s: no row %s", path, row)
			}
			delete(left, path)
		}
	}
	for path, value := range left {
		t.Errorf("%s = %s is printed and not documented", path, value)
	}
	for _, row := range []string{"| `max` | size | `1GB` | yes |", "| `listen_mode` | octal | `0660` | no |", "| `postgres` | text | none, needed | no |"} {
		if !strings.Contains(text, row) {
			t.Errorf("no %q", row)
		}
	}
}

func TestReferenceIsWritten(t *testing.T) {
	written, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "configuration.md"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(written, Reference()) {
		t.Error("docs/configuration.md is stale: run `go generate ./cmd/credproxy/config`")
	}
}
