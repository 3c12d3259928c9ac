package proxy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Every number that STATS shows is explained in the documents.
func TestStatsAreDocumented(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for name := range new(Stats).Values() {
		n++
		if !strings.Contains(string(data), "`"+name+"`") {
			t.Errorf("docs/operations.md does not say what %s is", name)
		}
	}
	if n < 40 {
		t.Errorf("only %d names", n)
	}
}
