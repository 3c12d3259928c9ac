package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"credproxy/internal/bots"
)

func open(t *testing.T, path string, keep bool) *workspace {
	t.Helper()
	w, err := openWorkspace(path, keep)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestWorkspaceRefusesForeignFolders(t *testing.T) {
	dir := t.TempDir()
	precious := filepath.Join(dir, "precious")
	if err := os.WriteFile(precious, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openWorkspace(dir, false); err == nil || !strings.Contains(err.Error(), "did not make") {
		t.Errorf("a folder with files of somebody else's: %v", err)
	}
	if _, err := os.Stat(precious); err != nil {
		t.Errorf("the file is gone: %v", err)
	}
}

func TestWorkspaceIsUsedOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ws")
	w := open(t, dir, false)
	if _, err := openWorkspace(dir, false); err == nil || !strings.Contains(err.Error(), "another credproxy dev") {
		t.Errorf("a folder in use: %v", err)
	}
	if err := w.close(false); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the folder is still there: %v", err)
	}
}

// What is left of an earlier run goes when the next one does not keep it.
func TestWorkspaceStartsAnew(t *testing.T) {
	dir, elsewhere := filepath.Join(t.TempDir(), "ws"), filepath.Join(os.TempDir(), "credproxy-test-"+filepath.Base(t.TempDir()))
	if err := os.Mkdir(elsewhere, 0o700); err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(elsewhere)
	w := open(t, dir, true)
	if err := os.Mkdir(w.file("postgres"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(elsewhere, w.file("postgres/data")); err != nil {
		t.Fatal(err)
	}
	if err := w.close(false); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "postgres")); err != nil {
		t.Errorf("a kept folder lost its content: %v", err)
	}
	w = open(t, dir, false)
	defer w.close(false)
	for _, gone := range []string{elsewhere, filepath.Join(dir, "postgres")} {
		if _, err := os.Stat(gone); !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", gone, err)
		}
	}
}

// What the bots remember is handed on once; after a run that did not end in order they start with other sessions.
func TestWorkspaceGenerations(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ws")
	next := func(generation int, remembered bool) *workspace {
		t.Helper()
		w := open(t, dir, true)
		state, err := w.takeFleet()
		if err != nil || (state != nil) != remembered || w.mark.Generation != generation {
			t.Fatalf("state %v, generation %d, error %v; want %v, %d", state != nil, w.mark.Generation, err, remembered, generation)
		}
		return w
	}
	w := next(0, false)
	if err := os.Mkdir(w.file("postgres"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := w.saveFleet(&bots.State{Seed: 1}); err != nil {
		t.Fatal(err)
	}
	w.close(false)
	next(0, true).close(false) // and this one is not saved
	next(1, false).close(false)
	next(2, false).close(false)
}
