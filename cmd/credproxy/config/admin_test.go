package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAdminToken(t *testing.T) {
	const token = "0123456789abcdef"
	t.Setenv("TEST_TOKEN", token)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for text, shown := range map[string]string{
		`admin { token = env("TEST_TOKEN") }`:          `token  = "(set)"`,
		fmt.Sprintf("admin { token_file = %q }", file): file,
	} {
		c := parse(t, minimal+text+"\n")
		if c.Admin.Token != token || c.Admin.Listen != "127.0.0.1:9180" {
			t.Errorf("%s: %+v", text, c.Admin)
		}
		if out := string(c.Render()); strings.Contains(out, token) || !strings.Contains(out, shown) {
			t.Errorf("%s is shown as\n%s", text, out)
		}
	}
}

func TestAdminTokenProblems(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ src, want string }{
		{"admin {\n  token = \"s3cret\"\n}\n", "proxy.hcl:9: admin: the token has fewer than 16 characters"},
		{"admin {\n  token = \"\"\n}\n", "proxy.hcl:9: admin: token is empty: write token = env("},
		{"admin {\n  token = env(\"TEST_UNSET\")\n}\n", "proxy.hcl:9: admin: token is empty: set TEST_UNSET in the environment"},
		{"admin {\n  token = \"s3cret s3cret s3cret\"\n  token_file = \"/none\"\n}\n", "proxy.hcl:10: admin: token and token_file are both set: remove one"},
		{"admin {\n  token_file = \"/none\"\n}\n", "proxy.hcl:9: admin: token_file: read /none: no such file"},
		{fmt.Sprintf("admin {\n  token_file = %q\n}\n", empty), "proxy.hcl:9: admin: token_file: " + empty + " is empty"},
	} {
		expectProblem(t, minimal+c.src, c.want)
		if _, err := Parse("proxy.hcl", []byte(minimal+c.src)); err != nil && strings.Contains(err.Error(), "s3cret") {
			t.Errorf("a secret is shown: %v", err)
		}
	}
}
