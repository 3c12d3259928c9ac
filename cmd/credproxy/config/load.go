package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// Load reads, decodes and validates a file. The error is a Problems value: one line for each thing that is wrong.
func Load(path string) (Config, error) {
	src, err := os.ReadFile(path)
	if err != nil {
		return Config{}, Problems{{File: path, Text: unreadable(err)}}
	}
	return Parse(path, src)
}

func unreadable(err error) string {
	if errors.Is(err, fs.ErrNotExist) {
		return "no such file: copy the proxy.hcl that comes with credproxy, or name yours with --config"
	}
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		err = pathErr.Err
	}
	return fmt.Sprintf("cannot be read: %v", err)
}

// Parse is Load for text at hand; path is only named in problems.
func Parse(path string, src []byte) (Config, error) {
	r := newReader(path)
	src, r.line = splitOneLiners(src)
	file, diags := hclsyntax.ParseConfig(src, path, hcl.InitialPos)
	if diags.HasErrors() {
		r.diagnose(diags, "")
		return Config{}, r.problems.sorted()
	}
	c := Default()
	c.Path = path
	r.decode(&c, file.Body.(*hclsyntax.Body))
	if len(r.problems) > 0 {
		return Config{}, r.problems.sorted()
	}
	c.Warnings = r.warnings.sorted()
	return c, nil
}
