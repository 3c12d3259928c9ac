package proxy_test

import (
	"os"
	"testing"

	"credproxy/internal/testenv"
)

func TestMain(m *testing.M) {
	if spec := os.Getenv(childEnv); spec != "" {
		runChildProxy(spec) // this process is a proxy that a test wants to kill
		return
	}
	if spec := os.Getenv(hostileEnv); spec != "" {
		runHostile(spec)
		return
	}
	os.Exit(testenv.Run(m))
}
