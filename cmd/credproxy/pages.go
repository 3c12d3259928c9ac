package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/pprof"
	"time"

	"credproxy/proxy"
)

// readyTimeout bounds a readiness check: one that hangs is an answer too, and it is "no".
const readyTimeout = 3 * time.Second

// adminPages serves health, readiness and profiles.
func adminPages(server *proxy.Server) http.Handler {
	mux := http.NewServeMux()
	// Alive means that this process answers, not that Redis does: a restart would not bring that back.
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
		defer cancel()
		if err := server.Ready(ctx); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	// The default mux of net/http stays unused: whatever a library registers there must not become public.
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}
