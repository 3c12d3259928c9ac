// Command reference writes the configuration reference to the file that it is given. `go generate` runs it.
package main

import (
	"fmt"
	"os"

	"credproxy/cmd/credproxy/config"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: reference FILE")
		os.Exit(2)
	}
	if err := os.WriteFile(os.Args[1], config.Reference(), 0o644); err != nil {
		fmt.Fprintf(os.Stderr, "write reference: %v\n", err)
		os.Exit(1)
	}
}
