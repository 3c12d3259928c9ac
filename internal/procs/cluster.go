package procs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// prepareCluster returns the data folder for cfg.Dir, with links resolved, and creates the cluster when there is none.
func prepareCluster(ctx context.Context, bin string, o owner, cfg PostgresConfig) (string, error) {
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return "", fmt.Errorf("find postgres folder: %w", err)
	}
	// Dir itself stays ours, but its user must be able to pass through.
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make postgres folder: %w", err)
	}
	link := filepath.Join(dir, "data")
	data, err := filepath.EvalSymlinks(link)
	if err == nil {
		return data, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("find postgres folder: %w", err)
	}
	if err := createCluster(ctx, bin, o, cfg, link); err != nil {
		return "", err
	}
	if data, err = filepath.EvalSymlinks(link); err != nil {
		return "", fmt.Errorf("find postgres folder: %w", err)
	}
	return data, nil
}

// createCluster makes a cluster that appears at link only when it is complete: a start that was interrupted half way
// leaves nothing that a later start would take for one.
func createCluster(ctx context.Context, bin string, o owner, cfg PostgresConfig, link string) error {
	home := filepath.Dir(link)
	if !o.reaches(link) {
		home = "" // os.TempDir
	}
	draft, err := os.MkdirTemp(home, "credproxy-postgres-")
	if err != nil {
		return fmt.Errorf("make postgres folder: %w", err)
	}
	if err := fillCluster(ctx, bin, o, cfg, draft); err != nil {
		return errors.Join(err, os.RemoveAll(draft))
	}
	if home != "" {
		if err := os.Rename(draft, link); err != nil {
			return errors.Join(fmt.Errorf("place postgres folder: %w", err), os.RemoveAll(draft))
		}
		return nil
	}
	_ = os.Remove(link) // a link whose target was cleaned away, or nothing
	if err := os.Symlink(draft, link); err != nil {
		return errors.Join(fmt.Errorf("place postgres folder: %w", err), os.RemoveAll(draft))
	}
	return nil
}

// fillCluster runs initdb in dir and creates our database. It needs no server: the single-user mode takes SQL on stdin.
func fillCluster(ctx context.Context, bin string, o owner, cfg PostgresConfig, dir string) error {
	if err := o.give(dir); err != nil {
		return err
	}
	args := []string{"-D", dir, "-U", postgresUser, "-A", "trust", "-E", "UTF8", "--locale=C"}
	durable := "fsync=on"
	if !cfg.Durable {
		args, durable = append(args, "--no-sync"), "fsync=off"
	}
	if err := run(ctx, o, dir, "", filepath.Join(bin, "initdb"), args...); err != nil {
		return err
	}
	return run(ctx, o, dir, "CREATE DATABASE "+postgresDatabase+"\n", filepath.Join(bin, "postgres"),
		"--single", "-c", durable, "-c", "exit_on_error=on", "-D", dir, "postgres")
}
