package main

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// A command line in the documents: in a block of code or in backticks.
var (
	shownFence = regexp.MustCompile("(?ms)^ *```([a-z]*)\n(.*?)^ *```")
	shownBlock = regexp.MustCompile(`(?m)^    \S[^\n]*\n`)
	shownCode  = regexp.MustCompile("`([^`\n]+)`")
	shownCall  = regexp.MustCompile(`(?:^|[(/]|\| |xargs .*)credproxy ([a-z]+)\b([^|;#&)\n]*)`)
	shownFlag  = regexp.MustCompile(`(?:^|[\s\[])--?([a-z][a-z-]*)`)
)

// Every command and every option that the documents show is one that the program has.
func TestDocumentedCommands(t *testing.T) {
	app := newApp(io.Discard, io.Discard)
	calls := 0
	for _, pattern := range []string{"../../*.md", "../../docs/*.md", "../../deploy/*.md", "../../deploy/*/*.yaml", "../../deploy/systemd/*.service"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for _, line := range shownIn(string(data)) {
				line = strings.TrimSpace(line)
				if strings.Contains(line, "systemctl") || strings.Contains(line, "docker") || strings.Contains(line, "secret generic") || strings.Contains(line, "journalctl") {
					continue // there it is the name of a service, an image, a secret
				}
				for _, call := range shownCall.FindAllStringSubmatch(line, -1) {
					calls++
					checkCall(t, app, path, call[1], call[2])
				}
			}
		}
	}
	if calls < 40 {
		t.Errorf("only %d command lines found", calls)
	}
}

// shownIn returns the lines of code of a document.
func shownIn(text string) (lines []string) {
	for _, f := range shownFence.FindAllStringSubmatch(text, -1) {
		if f[1] == "" || f[1] == "sh" {
			lines = append(lines, strings.Split(f[2], "\n")...)
		}
	}
	text = shownFence.ReplaceAllString(text, "")
	lines = append(lines, shownBlock.FindAllString(text, -1)...)
	for _, c := range shownCode.FindAllStringSubmatch(text, -1) {
		lines = append(lines, c[1])
	}
	return lines
}

func checkCall(t *testing.T, app *cli.App, path, name, arguments string) {
	t.Helper()
	cmd := app.Command(name)
	if cmd == nil {
		t.Errorf("%s: there is no command credproxy %s", path, name)
		return
	}
	for _, found := range shownFlag.FindAllStringSubmatch(arguments, -1) {
		known := slices.ContainsFunc(cmd.Flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), found[1]) })
		if !known {
			t.Errorf("%s: credproxy %s has no option --%s", path, name, found[1])
		}
	}
}
