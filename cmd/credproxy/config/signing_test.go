package config

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

const (
	goodSecret  = "J0sDq2b8nQ1vXyE5tLr7cKf3aWz9hGm4uPi6oSx2eBk="
	otherSecret = "8f3a1c0e5b7d9264af10c3e8b5d70291f6e4a3c2b1d09f8e7c6b5a4938271605"
)

// signing is a configuration whose restore block has these lines, the first of which is line 4.
func signing(lines string) string {
	return space + "restore {\n postgres = \"postgres://u@h/d\"\n" + lines + "\n}\n"
}

func secretFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSigning(t *testing.T) {
	t.Setenv("TEST_SECRET", goodSecret)
	file, old := secretFile(t, goodSecret+"\n"), secretFile(t, otherSecret+"\r\n")
	for _, c := range []struct {
		name, lines, shown string
		want               Signing
	}{
		{"none", "", "", Signing{}},
		{"explicitly none", ` secret_accept_unsigned = false`, "", Signing{}},
		{"environment", ` secret = env("TEST_SECRET")`, `secret = "(set)"`, Signing{Secret: goodSecret}},
		{"rotation", ` secret = env("TEST_SECRET")` + "\n" + ` previous_secrets = ["` + otherSecret + `"]`, `previous_secrets = ["(set)"]`,
			Signing{Secret: goodSecret, Previous: []string{otherSecret}}},
		{"files", fmt.Sprintf(" secret_file = %q\n previous_secrets = [%q]\n previous_secret_files = [%q]\n secret_accept_unsigned = true", file, goodSecret, old),
			fmt.Sprintf("previous_secret_files = [%q]", old),
			Signing{Secret: goodSecret, SecretFile: file, Previous: []string{goodSecret, otherSecret}, PreviousFiles: []string{old}, AcceptUnsigned: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := parse(t, signing(c.lines))
			if !reflect.DeepEqual(got.Restore.Signing, c.want) {
				t.Errorf("got %+v", got.Restore.Signing)
			}
			// The printer lines the settings of a block up.
			shown := string(got.Render())
			if plain := strings.Join(strings.Fields(shown), " "); !strings.Contains(plain, c.shown) {
				t.Errorf("%s is not in\n%s", c.shown, shown)
			}
			for _, secret := range []string{goodSecret, otherSecret} {
				if strings.Contains(shown, secret) {
					t.Errorf("a secret is shown:\n%s", shown)
				}
			}
		})
	}
}

func TestSigningProblems(t *testing.T) {
	empty, weak := secretFile(t, "\n"), secretFile(t, "s3cret\n")
	for _, c := range []struct{ name, lines, want string }{
		{"unset", ` secret = env("TEST_UNSET")`, "proxy.hcl:4: restore: secret is empty: set TEST_UNSET in the environment"},
		{"empty", ` secret = ""`, "proxy.hcl:4: restore: secret is empty: write 32 random bytes, for instance from `openssl rand -base64 32`"},
		{"short", ` secret = "s3cret"`, "proxy.hcl:4: restore: secret is too short or too simple (not shown): write 32 random bytes"},
		{"31 bytes as hex", ` secret = "` + otherSecret[:62] + `"`, "proxy.hcl:4: restore: secret is too short"},
		{"31 bytes in base64", ` secret = "` + goodSecret[:42] + `"`, "proxy.hcl:4: restore: secret is too short"},
		{"repeated", ` secret = "` + strings.Repeat("s3cret", 20) + `"`, "proxy.hcl:4: restore: secret is too short or too simple"},
		{"digits", ` secret = "` + strings.Repeat("0123456789", 7) + `"`, "proxy.hcl:4: restore: secret is too short"},
		{"both", ` secret = "` + goodSecret + "\"\n secret_file = \"/none\"", "proxy.hcl:5: restore: secret and secret_file are both set: remove one"},
		{"no file", ` secret_file = "/none"`, "proxy.hcl:4: restore: secret_file: read /none: no such file"},
		{"empty file", fmt.Sprintf(` secret_file = %q`, empty), "proxy.hcl:4: restore: secret_file: " + empty + " is empty: write the secret into it"},
		{"weak file", fmt.Sprintf(` secret_file = %q`, weak), "proxy.hcl:4: restore: secret_file is too short or too simple (not shown)"},
		{"previous unset", ` secret = "` + goodSecret + "\"\n previous_secrets = [env(\"TEST_UNSET\")]", "proxy.hcl:5: restore: previous_secrets: number 1 is empty: set TEST_UNSET in the environment"},
		{"previous weak", ` secret = "` + goodSecret + "\"\n previous_secrets = [\"" + otherSecret + `", "s3cret"]`, "proxy.hcl:5: restore: previous_secrets: number 2 is too short"},
		{"previous no file", ` secret = "` + goodSecret + "\"\n previous_secret_files = [\"/none\"]", "proxy.hcl:5: restore: previous_secret_files: read /none: no such file"},
		{"previous weak file", ` secret = "` + goodSecret + "\"\n" + fmt.Sprintf(" previous_secret_files = [%q]", weak), "proxy.hcl:5: restore: previous_secret_files: what is in " + weak + " is too short"},
		{"previous alone", ` previous_secrets = ["` + goodSecret + `"]`, `proxy.hcl:4: restore: previous_secrets is for saved payloads that are signed: set secret = env("CREDPROXY_SECRET"), or remove it`},
		{"unsigned alone", ` secret_accept_unsigned = true`, "proxy.hcl:4: restore: secret_accept_unsigned is for saved payloads that are signed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			expectProblem(t, signing(c.lines), c.want)
			_, err := Parse("proxy.hcl", []byte(signing(c.lines)))
			for _, secret := range []string{goodSecret[:20], otherSecret[:20], "s3cret"} {
				if err != nil && strings.Contains(err.Error(), secret) {
					t.Errorf("a secret is shown: %v", err)
				}
			}
		})
	}
}
