package config

// refuseUnsupported is the one place that says which parts of the configuration language have nothing behind them in
// this version. They are refused and not ignored: an operator who writes `tls` must not be served in the clear.
func (f *file) refuseUnsupported(c *Config) {
	const remedy = "not available in this version"
	if c.TLS != nil {
		f.top.r.report(f.tls.at, "tls", "%s: remove the block and put a TLS terminator in front", remedy)
	}
	if c.Restore.Sync == SyncOff {
		f.restore.report("sync", `sync = "off" is %s: write "behind" or "through"`, remedy)
	}
}
