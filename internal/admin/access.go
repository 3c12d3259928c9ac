package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// Who may see and do what:
//
//	A1  Metrics, health and readiness are for everyone who can connect: they hold numbers, never an id or an address.
//	A2  Reading the rest (sessions, events, profiles) is for this machine, and for who has the token. A request that a proxy
//	    has passed on is not of this machine, wherever it comes from.
//	A3  Actions are for who has the token, which travels in the Authorization header. A page of another site can neither know it
//	    nor make a browser send it, so there is nothing to forge.
//	A4  Without the token the host that the browser asked for must be an address or localhost: a name could be a stranger's
//	    that was made to lead here (DNS rebinding), and his page would read what this machine may read.
type access struct {
	on  bool
	sum [sha256.Size]byte // of the token: sums are of one length, so that comparing them takes the same time for all
}

func newAccess(token string) access {
	return access{on: token != "", sum: sha256.Sum256([]byte(token))}
}

// refusal is an error with its HTTP status.
type refusal struct {
	status int
	text   string
}

func (r *refusal) Error() string { return r.text }

// token reports whether the request has the right one; a wrong one is an error even where none is needed.
func (a *access) token(r *http.Request) (bool, *refusal) {
	given := r.Header.Get("Authorization")
	if given == "" {
		return false, nil
	}
	scheme, token, _ := strings.Cut(given, " ")
	sum := sha256.Sum256([]byte(strings.TrimSpace(token)))
	if !a.on || !strings.EqualFold(scheme, "Bearer") || subtle.ConstantTimeCompare(sum[:], a.sum[:]) != 1 {
		return false, &refusal{http.StatusUnauthorized, "the token is wrong: it is the one of admin { token } or token_file in proxy.hcl"}
	}
	return true, nil
}

// read says whether the request may read (A2).
func (a *access) read(r *http.Request) *refusal {
	known, refused := a.token(r)
	switch {
	case refused != nil:
		return refused
	case known:
		return nil
	case !isLocal(r) && a.on:
		return &refusal{http.StatusUnauthorized, "from another machine this needs the token of admin { token } in proxy.hcl"}
	case !isLocal(r):
		return &refusal{http.StatusForbidden, "other machines may read this only with a token: set admin { token = env(\"CREDPROXY_TOKEN\") } in proxy.hcl"}
	case !isPlainHost(r.Host):
		return &refusal{http.StatusForbidden, fmt.Sprintf("the name %q could be a stranger's: open the page by address or as localhost, or give the token", r.Host)}
	case r.Header.Get("Sec-Fetch-Site") == "cross-site":
		return &refusal{http.StatusForbidden, "a page of another site may not ask for this"}
	}
	return nil
}

// act says whether the request may change something (A3).
func (a *access) act(r *http.Request) *refusal {
	if !a.on {
		return &refusal{http.StatusForbidden, "the dashboard is read-only: set admin { token = env(\"CREDPROXY_TOKEN\") } in proxy.hcl to allow actions"}
	}
	known, refused := a.token(r)
	switch {
	case refused != nil:
		return refused
	case !known:
		return &refusal{http.StatusUnauthorized, "this needs the token of admin { token } in proxy.hcl"}
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return &refusal{http.StatusUnsupportedMediaType, "send application/json"}
	}
	return nil
}

// isLocal reports whether the request was made on this machine.
func isLocal(r *http.Request) bool {
	for _, passedOn := range []string{"Forwarded", "X-Forwarded-For", "X-Real-Ip"} {
		if r.Header.Get(passedOn) != "" {
			return false
		}
	}
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && at.Addr().Unmap().IsLoopback()
}

// isPlainHost reports whether a Host header names an address or this machine, and so nothing that DNS decides about.
func isPlainHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil
}
