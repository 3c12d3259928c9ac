package proxy

import (
	"errors"
	"syscall"
)

// ownDescriptors is how many open files the proxy needs besides one for each client: connections to Redis and Postgres, listeners,
// certificates, and some to spare. A client that blocks or subscribes takes one more while it does; when there are none left
// for that, it gets an error.
const ownDescriptors = 192

// maxClients is how many clients the limit on open files allows, at most what is configured. (The Go runtime has raised the soft
// limit to the hard one already.)
func (s *Server) maxClients() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		s.log.Warn("the limit on open files cannot be read", "error", err)
		return s.cfg.MaxClients
	}
	fit := clientsWithin(limit.Cur, s.cfg.MaxClients)
	if fit < s.cfg.MaxClients {
		s.log.Warn("maxclients is lowered, as the limit on open files allows no more: raise that limit (ulimit -n, LimitNOFILE= of systemd)",
			"maxclients", s.cfg.MaxClients, "lowered_to", fit, "open_files", limit.Cur, "needed", s.cfg.MaxClients+ownDescriptors)
	}
	return fit
}

// clientsWithin is how many of the wanted clients a limit on open files allows, one at least.
func clientsWithin(limit uint64, wanted int) int {
	if limit >= uint64(wanted)+ownDescriptors {
		return wanted
	}
	return max(1, int(limit)-ownDescriptors)
}

// acceptRemedy says what to do about clients that cannot be accepted.
func acceptRemedy(err error) string {
	switch {
	case errors.Is(err, syscall.EMFILE):
		return ": the process has no descriptors left, they are refused; raise its limit on open files (ulimit -n, LimitNOFILE= of systemd)"
	case errors.Is(err, syscall.ENFILE):
		return ": the system has no descriptors left, they are refused; raise fs.file-max"
	}
	return ""
}
