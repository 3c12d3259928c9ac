package proxy_test

import (
	"os"
	"testing"

	"credproxy/internal/testenv"
)

func TestMain(m *testing.M) { os.Exit(testenv.Run(m)) }
