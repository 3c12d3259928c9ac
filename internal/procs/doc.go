// Package procs starts a private redis-server and a private Postgres from the binaries installed on this machine, and
// stops, kills or freezes them again. `credproxy dev` and the tests use it.
//
// A server started here never outlives the process that started it, however that process ends: the kernel signals it.
// It runs in a process group of its own, so that Ctrl-C in a terminal reaches only the parent, which then stops the
// servers in the order that suits it. Servers listen on 127.0.0.1 only.
//
// Linux only: the guarantee rests on the parent death signal.
package procs
