package admin

import (
	"embed"
	"encoding/json"
	"io/fs"
	"net/http"
	"net/http/pprof"
)

//go:embed web
var web embed.FS

// pagePolicy lets the page load its own files and talk to its own server, and nothing else.
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

func (s *Site) routes() http.Handler {
	mux := http.NewServeMux()
	files, err := fs.Sub(web, "web")
	if err != nil {
		panic(err) // the folder is compiled in
	}
	mux.HandleFunc("GET /{$}", within(answerTime, func(w http.ResponseWriter, r *http.Request) { http.ServeFileFS(w, r, files, "index.html") }))
	mux.HandleFunc("GET /assets/", within(answerTime, http.StripPrefix("/assets/", http.FileServerFS(files)).ServeHTTP))
	mux.HandleFunc("GET /healthz", within(answerTime, s.serveHealth))
	mux.HandleFunc("GET /readyz", within(answerTime, s.serveReady))
	mux.HandleFunc("GET /metrics", within(answerTime, s.metrics.handler().ServeHTTP))

	read := func(next http.HandlerFunc) http.HandlerFunc {
		return within(answerTime, s.guarded(s.access.read, next))
	}
	mux.HandleFunc("GET /api/live", read(s.serveLive))
	mux.HandleFunc("GET /api/sessions", read(s.serveSessions))
	mux.HandleFunc("GET /api/session", read(s.serveSession))
	mux.HandleFunc("POST /api/actions/{action}", within(actionTime, s.guarded(s.access.act, s.serveAction)))

	profile := func(next http.HandlerFunc) http.HandlerFunc {
		return within(profileTime, s.guarded(s.access.read, next))
	}
	// The default mux of net/http stays unused: whatever a library registers there must not become public.
	mux.HandleFunc("GET /debug/pprof/", profile(pprof.Index))
	mux.HandleFunc("GET /debug/pprof/cmdline", profile(pprof.Cmdline))
	mux.HandleFunc("GET /debug/pprof/profile", profile(pprof.Profile))
	mux.HandleFunc("GET /debug/pprof/symbol", profile(pprof.Symbol))
	mux.HandleFunc("GET /debug/pprof/trace", profile(pprof.Trace))
	return sealed(mux)
}

// sealed sets the headers that keep other sites out of every answer.
func sealed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", pagePolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

func (s *Site) guarded(may func(*http.Request) *refusal, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if refused := may(r); refused != nil {
			if refused.status == http.StatusUnauthorized {
				w.Header().Set("WWW-Authenticate", `Bearer realm="credproxy"`)
			}
			if r.Header.Get("Authorization") != "" && refused.status == http.StatusUnauthorized {
				s.refused.say(s.log, r.RemoteAddr)
			}
			answer(w, refused.status, map[string]any{"error": refused.text})
			return
		}
		next(w, r)
	}
}

// answer writes JSON.
func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client has gone, and is told nothing more
}

func (s *Site) serveHealth(w http.ResponseWriter, _ *http.Request) {
	// Alive means that this process answers, not that Redis does: a restart would not bring that back.
	answer(w, http.StatusOK, map[string]any{"status": "ok"})
}

// serveReady is open to everyone, so it says what is wrong in the words of findings, never in those of an error.
func (s *Site) serveReady(w http.ResponseWriter, _ *http.Request) {
	st := s.proxy.Stats()
	list, ready := s.judge(&st)
	status, word := http.StatusOK, "ready"
	if !ready {
		status, word = http.StatusServiceUnavailable, "not ready"
	}
	answer(w, status, map[string]any{"status": word, "reasons": list})
}
