package config

import (
	"fmt"
	"slices"
	"strings"
)

// This file reads and checks the secrets that authenticate saved payloads.

// secretBits is what a secret must have at least. Whoever reads the tables can try secrets as fast as machines go.
const secretBits = 256

const secretRemedy = "write 32 random bytes, for instance from `openssl rand -base64 32`"

func (s *section) decodeSigning(g *Signing) {
	s.secret("secret", &g.Secret, &g.SecretFile)
	setting := "secret"
	if g.SecretFile != "" {
		setting = "secret_file"
	}
	s.checkSecret(setting, setting, g.Secret, g.SecretFile)
	s.list("previous_secrets", &g.Previous)
	for i, secret := range g.Previous {
		s.checkSecret("previous_secrets", fmt.Sprintf("previous_secrets: number %d", i+1), secret, "")
	}
	s.list("previous_secret_files", &g.PreviousFiles)
	for _, path := range g.PreviousFiles {
		secret := s.secretFrom("previous_secret_files", "secret", path)
		s.checkSecret("previous_secret_files", "previous_secret_files: what is in "+path, secret, path)
		g.Previous = append(g.Previous, secret)
	}
	s.boolean("secret_accept_unsigned", &g.AcceptUnsigned)
	if s.body.Attributes["secret"] != nil || s.body.Attributes["secret_file"] != nil {
		return
	}
	for _, name := range []string{"previous_secrets", "previous_secret_files", "secret_accept_unsigned"} {
		if s.body.Attributes[name] != nil && (name != "secret_accept_unsigned" || g.AcceptUnsigned) {
			s.report(name, `%s is for saved payloads that are signed: set secret = env("CREDPROXY_SECRET"), or remove it`, name)
		}
	}
}

// checkSecret says what is wrong with a secret, and never what it is. An empty one from a file has been reported.
func (s *section) checkSecret(setting, what, secret, path string) {
	missing := s.wanted(setting)
	switch {
	case s.body.Attributes[setting] == nil && path == "", secret == "" && path != "":
	case secret == "" && missing != "":
		s.report(setting, "%s is empty: set %s in the environment", what, missing)
	case secret == "":
		s.report(setting, "%s is empty: %s", what, secretRemedy)
	case guessable(secret):
		s.report(setting, "%s is too short or too simple (not shown): %s", what, secretRemedy)
	}
}

// guessable estimates what a secret has at most, if it was drawn at random: what was not looks better than it is.
func guessable(secret string) bool {
	bits := 6.0 // base64, and whatever else
	switch {
	case strings.Trim(secret, "0123456789") == "":
		bits = 3.32
	case strings.Trim(secret, "0123456789abcdefABCDEF-") == "":
		bits = 4
	}
	distinct := slices.Compact(slices.Sorted(slices.Values([]byte(secret))))
	return float64(len(secret))*bits < secretBits || len(distinct) < 8
}

// render shows that there are secrets, and where they come from.
func (g *Signing) render(p *printer) {
	if g.Secret == "" {
		return
	}
	p.secret("secret", g.Secret, g.SecretFile)
	if n := len(g.Previous) - len(g.PreviousFiles); n > 0 {
		p.list("previous_secrets", slices.Repeat([]string{hidden}, n))
	}
	if len(g.PreviousFiles) > 0 {
		p.list("previous_secret_files", g.PreviousFiles)
	}
	if g.AcceptUnsigned {
		p.boolean("secret_accept_unsigned", true)
	}
}
