package config

import (
	"strings"

	"credproxy/internal/certs"
)

// minToken is how long the token must be: nothing holds up who tries many.
const minToken = 16

func (s *section) decodeAdmin(a *Admin) {
	s.text("listen", &a.Listen)
	s.list("users", &a.Users)
	s.text("token", &a.Token)
	if s.text("token_file", &a.TokenFile); s.body.Attributes["token_file"] == nil {
		return
	}
	if s.body.Attributes["token"] != nil {
		s.report("token_file", "token and token_file are both set: remove one")
		return
	}
	data, err := certs.ReadFile(a.TokenFile)
	if err != nil {
		s.report("token_file", "token_file: %v", err)
		return
	}
	if a.Token = strings.TrimSpace(string(data)); a.Token == "" {
		s.report("token_file", "token_file: %s is empty: write the token into it", a.TokenFile)
	}
}

func (f *file) validateToken(a *Admin) {
	set := f.admin.body.Attributes["token"] != nil || f.admin.body.Attributes["token_file"] != nil
	name := "token"
	if a.TokenFile != "" {
		name = "token_file"
	}
	switch missing := f.admin.wanted("token"); {
	case !set:
	case a.Token == "" && missing != "":
		f.admin.report(name, "token is empty: set %s in the environment", missing)
	case a.Token == "":
		f.admin.report(name, `token is empty: write token = env("CREDPROXY_TOKEN"), or remove it for a read-only dashboard`)
	case len(a.Token) < minToken:
		f.admin.report(name, "the token has fewer than %d characters: take a longer one, for instance from `openssl rand -hex 32`", minToken)
	}
}
