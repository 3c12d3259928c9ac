package procs

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// ErrMissing is wrapped by the errors that say which program is not installed and how to get it.
var ErrMissing = errors.New("not installed")

// missingError names a program and the Debian package it is in.
type missingError struct{ binary, debian string }

func (e *missingError) Error() string {
	return fmt.Sprintf("%s is not installed: apt-get install %s", e.binary, e.debian)
}

func (e *missingError) Is(target error) bool { return target == ErrMissing }

// findRedis returns the path of redis-server.
func findRedis() (string, error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return "", &missingError{binary: "redis-server", debian: "redis-server"}
	}
	return path, nil
}

// findPostgres returns the folder that holds initdb and postgres: on PATH, else Debian's newest version, else the place
// where a build from source installs.
func findPostgres() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		if real, err := filepath.EvalSymlinks(path); err == nil && hasPostgres(filepath.Dir(real)) {
			return filepath.Dir(real), nil
		}
	}
	dirs, _ := filepath.Glob("/usr/lib/postgresql/*/bin") // its only error is a bad pattern
	best, bestVersion := "", -1
	for _, dir := range dirs {
		version, err := strconv.Atoi(filepath.Base(filepath.Dir(dir)))
		if err == nil && version > bestVersion && hasPostgres(dir) {
			best, bestVersion = dir, version
		}
	}
	if best == "" && hasPostgres("/usr/local/pgsql/bin") {
		best = "/usr/local/pgsql/bin"
	}
	if best == "" {
		return "", &missingError{binary: "postgres", debian: "postgresql"}
	}
	return best, nil
}

// hasPostgres reports whether dir holds both programs; a machine with only the client package has neither.
func hasPostgres(dir string) bool {
	for _, name := range []string{"initdb", "postgres"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return false
		}
	}
	return true
}
