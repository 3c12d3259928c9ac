// Package trace is about access traces: which session was used when, and how big it was. It reads and writes them (codec.go),
// makes synthetic ones (synthetic.go), and replays them against budgets and eviction policies (replay.go), with the session table
// that the proxy itself uses. It does no I/O but on the readers and writers that it is given.
package trace
