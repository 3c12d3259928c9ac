package proxy

import (
	"crypto/sha256"
	"crypto/subtle"
	"slices"

	"credproxy/proxy/upstream"
)

// defaultUser is who a client is that gives a password only, or none.
const defaultUser = "default"

// passwords judges AUTH where the proxy has users of its own. Only hashes are kept: they have one length, so that a comparison
// takes the same time whatever the password is.
type passwords map[string][sha256.Size]byte

// newPasswords returns nil where Redis judges.
func newPasswords(byUser map[string]string) passwords {
	if byUser == nil {
		return nil
	}
	p := passwords{}
	for user, password := range byUser {
		p[user] = sha256.Sum256([]byte(password))
	}
	return p
}

// accepts reports whether the password is the user's. A user who does not exist takes as long as one who does.
func (p passwords) accepts(user, password string) bool {
	given := sha256.Sum256([]byte(password))
	wanted, exists := p[user]
	return subtle.ConstantTimeCompare(given[:], wanted[:]) == 1 && exists
}

// needsAuth reports whether a client has to authenticate before it may do anything.
func (s *Server) needsAuth() bool { return s.rules.Load().own != nil || s.greeting.needsAuth.Load() }

// identity is what a client's commands travel under before it has authenticated, or, with users of the proxy's own, always.
func (s *Server) identity() upstream.Identity {
	if s.rules.Load().own != nil {
		return s.ownIdentity(2)
	}
	return upstream.Identity{Proto: 2}
}

// mayAdminister reports whether the client may run the commands of CREDPROXY that change something.
func (c *client) mayAdminister() bool {
	admins := c.rules.admins
	return admins == nil || slices.Contains(admins, c.info.user) // user is written by this goroutine only
}
