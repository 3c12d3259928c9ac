package procs

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// owner is the user that Postgres runs as. Postgres refuses to run as root.
type owner struct {
	uid, gid int
	switched bool // another user than ours
}

// postgresOwner returns ourselves, or for root the user "postgres", else "nobody".
func postgresOwner() (owner, error) {
	if os.Geteuid() != 0 {
		return owner{uid: os.Geteuid(), gid: os.Getegid()}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, errUID := strconv.Atoi(u.Uid)
		gid, errGID := strconv.Atoi(u.Gid)
		if errUID == nil && errGID == nil {
			return owner{uid: uid, gid: gid, switched: true}, nil
		}
	}
	return owner{}, errors.New("find a user to run postgres as: root may not, and there is no user postgres or nobody")
}

// attr makes a command run as the owner.
func (o owner) attr() *syscall.SysProcAttr {
	if !o.switched {
		return nil
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(o.uid), Gid: uint32(o.gid)}}
}

// give makes dir the owner's, closed to others as Postgres demands.
func (o owner) give(dir string) error {
	if o.switched {
		if err := os.Chown(dir, o.uid, o.gid); err != nil {
			return fmt.Errorf("give folder to postgres: %w", err)
		}
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return fmt.Errorf("give folder to postgres: %w", err)
	}
	return nil
}

// reaches reports whether the owner may pass through every parent of dir.
func (o owner) reaches(dir string) bool {
	if !o.switched {
		return true
	}
	for parent := filepath.Dir(dir); ; parent = filepath.Dir(parent) {
		info, err := os.Stat(parent)
		if err != nil || !o.mayEnter(info) {
			return false
		}
		if parent == filepath.Dir(parent) {
			return true
		}
	}
}

// mayEnter reads the permission bits as the kernel does: the first class that matches decides.
func (o owner) mayEnter(info os.FileInfo) bool {
	mode := info.Mode().Perm()
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		switch {
		case int(stat.Uid) == o.uid:
			return mode&0o100 != 0
		case int(stat.Gid) == o.gid:
			return mode&0o010 != 0
		}
	}
	return mode&0o001 != 0
}
