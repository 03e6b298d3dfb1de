//go:build lab

package e2e

import (
	"fmt"
	"os"
	"testing"
)

// The test binary is also the worker that kills itself: see crash_test.go.
func TestMain(m *testing.M) {
	if point := os.Getenv(crashPointEnv); point != "" {
		if err := crashWorker(point, os.Getenv(crashSiteEnv)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}
