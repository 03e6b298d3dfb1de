package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"holdfast/internal/telemetry"
)

// build is what holdfast version prints.
type build struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Modified bool   `json:"modified,omitempty"` // built from a checkout with changes
	Go       string `json:"go"`
	Platform string `json:"platform"`
	// Libvirt: the driver is built in. It opens libvirt when it first connects.
	Libvirt bool `json:"libvirt"`
}

func thisBuild() build {
	b := build{Version: telemetry.Version(), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		case "CGO_ENABLED":
			b.Libvirt = s.Value == "1"
		}
	}
	return b
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Say which build this is",
		Long: `Say which build this is: version, commit, Go version, and whether the libvirt driver
is built in. A build without it (CGO_ENABLED=0) has all of the operator's commands
and dev --simulated; worker, monitor and dev on real hosts need the driver.`,
		Example: `  holdfast version
  holdfast version -o json | jq -r .version`,
		Args:              wants(),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(*cobra.Command, []string) error {
			b := thisBuild()
			return a.print(b, func(w io.Writer) {
				commit, driver := orNone(b.Commit), "not built in"
				if b.Modified {
					commit += " with changes"
				}
				if b.Libvirt {
					driver = "built in"
				}
				fmt.Fprintf(w, "holdfast %s\n", b.Version)
				columns(w, nil, [][]string{
					{"  commit", commit}, {"  go", b.Go + " " + b.Platform}, {"  libvirt", driver},
				})
			})
		},
	}
}
