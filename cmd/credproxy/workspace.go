package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"credproxy/internal/bots"
)

// markerName is the file that says that a folder is dev's own. A folder without it is never emptied or removed: --dir
// may be a typo for somebody's home.
const markerName = ".credproxy-dev"

// workspace is the folder of `credproxy dev`: Redis, Postgres, the log and what the bots remember.
type workspace struct {
	path string
	keep bool
	lock *os.File // the marker, locked while we live
	mark mark
}

// mark is the content of the marker file.
type mark struct {
	// Generation is part of the bots' session ids. It moves on when a run ended without saving what its bots
	// remember: nobody can say then what those sessions should hold.
	Generation int `json:"generation"`
}

// openWorkspace makes or takes over a folder. Without keep whatever an earlier run left in it is removed.
func openWorkspace(path string, keep bool) (*workspace, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("find folder %s: %w", path, err)
	}
	if err := os.MkdirAll(path, 0o755); err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	w := &workspace{path: path, keep: keep}
	if err := w.claim(); err != nil {
		return nil, err
	}
	if !keep {
		if err := w.empty(); err != nil {
			return nil, errors.Join(err, w.lock.Close())
		}
	}
	return w, nil
}

// claim takes the marker's lock, making the marker in an empty folder.
func (w *workspace) claim() error {
	marker := w.file(markerName)
	if _, err := os.Stat(marker); errors.Is(err, fs.ErrNotExist) {
		entries, err := os.ReadDir(w.path)
		if err != nil {
			return fmt.Errorf("read folder: %w", err)
		}
		if len(entries) > 0 {
			return fmt.Errorf("use folder %s: it holds files that credproxy dev did not make: name another with --dir, or an empty one", w.path)
		}
	}
	lock, err := os.OpenFile(marker, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return fmt.Errorf("claim folder: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return errors.Join(fmt.Errorf("use folder %s: another credproxy dev is working in it: end that one or name another with --dir", w.path), lock.Close())
	}
	// A marker that was just made is empty: generation 0.
	if err := json.NewDecoder(lock).Decode(&w.mark); err != nil {
		w.mark = mark{}
	}
	w.lock = lock
	return nil
}

func (w *workspace) file(name string) string { return filepath.Join(w.path, name) }

// empty removes everything but the marker.
func (w *workspace) empty() error {
	entries, err := os.ReadDir(w.path)
	if err != nil {
		return fmt.Errorf("read folder: %w", err)
	}
	w.removeLinked()
	for _, e := range entries {
		if e.Name() == markerName {
			continue
		}
		if err := os.RemoveAll(w.file(e.Name())); err != nil {
			return fmt.Errorf("empty folder: %w", err)
		}
	}
	w.mark = mark{}
	return w.writeMark()
}

// removeLinked removes the Postgres cluster when it lies elsewhere, see procs.StartPostgres.
func (w *workspace) removeLinked() {
	link := w.file(filepath.Join("postgres", "data"))
	target, err := os.Readlink(link)
	if err != nil || filepath.Dir(target) != filepath.Clean(os.TempDir()) {
		return
	}
	_ = os.RemoveAll(target) // what stays is in the folder for temporary files
}

func (w *workspace) writeMark() error {
	text, err := json.Marshal(w.mark)
	if err != nil {
		return fmt.Errorf("write marker: %w", err)
	}
	if err := w.lock.Truncate(0); err != nil {
		return fmt.Errorf("write marker: %w", err)
	}
	if _, err := w.lock.WriteAt(text, 0); err != nil {
		return fmt.Errorf("write marker: %w", err)
	}
	return nil
}

// takeFleet returns what the bots of an earlier run remember. The file goes at once: it is true only until the first
// write of this run, and a run that is killed must not find it again.
func (w *workspace) takeFleet() (*bots.State, error) {
	text, err := os.ReadFile(w.file("fleet.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, w.nextGeneration()
	}
	if err != nil {
		return nil, fmt.Errorf("read what the bots remember: %w", err)
	}
	state := new(bots.State)
	if err := json.Unmarshal(text, state); err != nil {
		return nil, fmt.Errorf("read what the bots remember: %w", err)
	}
	if err := os.Remove(w.file("fleet.json")); err != nil {
		return nil, fmt.Errorf("take what the bots remember: %w", err)
	}
	return state, nil
}

func (w *workspace) nextGeneration() error {
	if _, err := os.Stat(w.file("postgres")); errors.Is(err, fs.ErrNotExist) {
		return nil // nothing was ever written here
	}
	if w.mark.Generation >= 99 {
		return fmt.Errorf("use folder %s: it has seen 100 runs that did not end in order: start anew without --keep", w.path)
	}
	w.mark.Generation++
	return w.writeMark()
}

// saveFleet keeps what the bots remember for the next run.
func (w *workspace) saveFleet(state *bots.State) error {
	text, err := json.Marshal(state)
	if err == nil {
		err = os.WriteFile(w.file("fleet.json"), text, 0o644)
	}
	if err != nil {
		return fmt.Errorf("save what the bots remember: %w", err)
	}
	return nil
}

// close lets go of the folder and removes it, unless it was asked to keep it or there is something to look at.
func (w *workspace) close(keep bool) error {
	if keep || w.keep {
		return w.lock.Close()
	}
	w.removeLinked()
	err := os.RemoveAll(w.path)
	if err != nil {
		err = fmt.Errorf("remove folder: %w", err)
	}
	return errors.Join(err, w.lock.Close())
}
