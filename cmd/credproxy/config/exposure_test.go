package config

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"credproxy/internal/testenv"
	"credproxy/proxy"
)

func TestExposure(t *testing.T) {
	a := testenv.NewAuthority(t)
	cert, key := a.Issue(t, "proxy")
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("from a file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TEST_PASSWORD", "from the environment")
	c := parse(t, minimal+fmt.Sprintf(`
tls { cert = %q key = %q client_ca = %q }
auth {
  password = env("TEST_PASSWORD")
  user "ops" { password_file = %q }
}
upstream {
  password_file = %[4]q
  tls { ca = %[3]q server_name = "redis" }
}
admin { users = ["ops"] }
`, cert, key, a.File, file))
	if want := (TLS{Cert: cert, Key: key, ClientCA: a.File}); *c.TLS != want {
		t.Errorf("tls: %+v", *c.TLS)
	}
	if want := []User{{"default", "from the environment", ""}, {"ops", "from a file", file}}; !reflect.DeepEqual(c.Auth.Users, want) {
		t.Errorf("auth: %+v", c.Auth.Users)
	}
	if c.Upstream.Password != "from a file" || c.Upstream.TLS != (proxy.UpstreamTLS{On: true, CA: a.File, ServerName: "redis"}) {
		t.Errorf("upstream: %+v", c.Upstream)
	}
	if fmt.Sprint(c.Admin.Users) != "[ops]" {
		t.Errorf("admin: %+v", c.Admin)
	}
	if want := append(proxy.DefaultDeny(), proxy.OwnUsersDeny()...); !reflect.DeepEqual(c.Deny, want) {
		t.Errorf("deny: %v", c.Deny)
	}

	shown := string(c.Render())
	if strings.Contains(shown, "from ") {
		t.Errorf("a secret is shown:\n%s", shown)
	}
	again := parse(t, shown)
	again.Restore.Postgres, again.Auth.Users[0].Password = c.Restore.Postgres, c.Auth.Users[0].Password
	if !reflect.DeepEqual(again, c) {
		t.Errorf("read back: %+v\nwant %+v", again, c)
	}
}

func TestDenyIsAsWritten(t *testing.T) {
	if c := parse(t, minimal+"auth {\n  password = \"x\"\n}\ndeny = [\"SHUTDOWN\"]\n"); fmt.Sprint(c.Deny) != "[SHUTDOWN]" {
		t.Errorf("deny: %v", c.Deny)
	}
}

func TestExposureProblems(t *testing.T) {
	a := testenv.NewAuthority(t)
	cert, key := a.Issue(t, "proxy")
	_, other := a.Issue(t, "other")
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	pem := func(cert, key string) string { return fmt.Sprintf("  cert = %q\n  key = %q\n", cert, key) }
	for _, c := range []struct{ name, src, want string }{
		{"half a tls", "tls {\n  cert = \"a.pem\"\n}\n", "proxy.hcl:8: tls: cert and key are both needed"},
		{"no such file", "tls {\n" + pem("/none.pem", key) + "}\n", "proxy.hcl:8: tls: read /none.pem: no such file or directory: name PEM files"},
		{"wrong key", "tls {\n" + pem(cert, other) + "}\n", "proxy.hcl:8: tls: use certificate " + cert},
		{"tls on a socket", "listen = \"unix:///a\"\ntls {\n" + pem(cert, key) + "}\n", "proxy.hcl:9: tls: listen is a Unix socket"},
		{"mode of a port", "listen_mode = \"0600\"\n", "proxy.hcl:8: listen_mode is for a Unix socket and listen is 127.0.0.1:6380: remove it"},
		{"no time to idle", "idle_timeout = \"10ms\"\n", `proxy.hcl:8: idle_timeout is 10ms: write "1s" or more, or "0s" for none`},
		{"time backwards", "auth_timeout = \"-1s\"\n", `proxy.hcl:8: auth_timeout is -1s: write "1s" or more`},
		{"odd keepalive", "tcp_keepalive = \"1500ms\"\n", `proxy.hcl:8: tcp_keepalive is 1.5s: write whole seconds`},
		{"long keepalive", "tcp_keepalive = \"10h\"\n", `proxy.hcl:8: tcp_keepalive is 10h: write whole seconds, "32767s" at most`},
		{"bad mode", "listen = \"unix:///a\"\nlisten_mode = \"rw\"\n", `proxy.hcl:9: listen_mode "rw" are no permissions of a socket`},
		{"long socket", "listen = \"unix:///" + strings.Repeat("a", 110) + "\"\n", "proxy.hcl:8: listen has a path of more than 107 bytes"},

		{"Redis on a socket", "upstream {\n  address = \"unix:///r\"\n  tls {}\n}\n", "proxy.hcl:10: upstream: tls: address is a Unix socket"},
		{"half a certificate", "upstream {\n  tls {\n    cert = \"a\"\n  }\n}\n", "proxy.hcl:9: upstream: tls: cert and key go together"},
		{"trust none and all", "upstream {\n  tls {\n    ca = \"a\"\n    insecure = true\n  }\n}\n", "proxy.hcl:11: upstream: tls: insecure believes any certificate"},
		{"unknown", "upstream {\n  tls {\n    verify = false\n  }\n}\n", `proxy.hcl:10: upstream: tls: unknown name "verify": known here are ca, cert, insecure, key, server_name`},

		{"no password", "auth {}\n", "proxy.hcl:8: auth: no password: write password = env("},
		{"unset", "auth {\n  password = env(\"TEST_UNSET\")\n}\n", "proxy.hcl:9: auth: password is empty: set TEST_UNSET in the environment"},
		{"empty", "auth {\n  user \"a\" { password = \"\" }\n}\n", `proxy.hcl:9: auth: user "a": password is empty: write password`},
		{"user without a password", "auth {\n  user \"a\" {}\n}\n", `proxy.hcl:9: auth: user "a": password is empty: write password`},
		{"empty file", fmt.Sprintf("auth {\n  password_file = %q\n}\n", empty), "proxy.hcl:9: auth: password_file: " + empty + " is empty"},
		{"no file", "auth {\n  password_file = \"/none\"\n}\n", "proxy.hcl:9: auth: password_file: read /none: no such file"},
		{"both", "auth {\n  password = \"s3cret\"\n  password_file = \"/none\"\n}\n", "proxy.hcl:10: auth: password and password_file are both set: remove one"},
		{"nameless", "auth {\n  user { password = \"s3cret\" }\n}\n", "proxy.hcl:9: auth: a user needs one name"},
		{"twice", "auth {\n  password = \"s3cret\"\n  user \"default\" {\n    password = \"s3cret\"\n  }\n}\n", `proxy.hcl:10: auth: user "default": user "default" stands here a second time: remove one`},
		{"unknown admin", "auth {\n  password = \"s3cret\"\n}\nadmin { users = [\"ops\"] }\n", `proxy.hcl:11: admin: users names "ops", who is not in auth`},
		{"password of Redis", "upstream {\n  password_file = \"/none\"\n}\n", "proxy.hcl:9: upstream: password_file: read /none: no such file"},
		{"protected maybe", "protected_mode = \"maybe\"\n", "proxy.hcl:8: protected_mode has the wrong type: write true or false"},
	} {
		t.Run(c.name, func(t *testing.T) {
			expectProblem(t, minimal+c.src, c.want)
			if _, err := Parse("proxy.hcl", []byte(minimal+c.src)); err != nil && strings.Contains(err.Error(), "s3cret") {
				t.Errorf("a secret is shown: %v", err)
			}
		})
	}
}
