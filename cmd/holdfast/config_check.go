package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"holdfast/internal/config"
)

// checked is what config check prints for programs.
type checked struct {
	File     string    `json:"file"`
	OK       bool      `json:"ok"`
	Site     string    `json:"site,omitempty"`
	Hosts    int       `json:"hosts,omitempty"`
	Problems []problem `json:"problems"`
}

type problem struct {
	Line    int    `json:"line"`
	Column  int    `json:"column,omitempty"`
	Field   string `json:"field,omitempty"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

func (a *app) configCheckCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check SITEFILE",
		Short: "Report every mistake in a site file",
		Long: `Report every mistake in a site file at once, each with its line, the field and what
to do about it. The exit code is 0 if there is none, else 1: use it before a worker
or a monitor is started anew, as they refuse to start with a file that is wrong.

With -o json or yaml the mistakes are on stdout.`,
		Example: `  holdfast config check site.yaml
  holdfast config check site.yaml && systemctl restart holdfast-worker`,
		Args:              wants("SITEFILE"),
		ValidArgsFunction: completeSiteFile,
		RunE: func(_ *cobra.Command, args []string) error {
			site, err := config.Load(args[0])
			var problems config.Errors
			if err != nil && !errors.As(err, &problems) {
				return err
			}
			out := checked{File: args[0], OK: err == nil, Problems: []problem{}}
			for _, p := range problems {
				out.Problems = append(out.Problems, problem{p.Line, p.Column, p.Field, p.Message, p.Hint})
			}
			if site != nil {
				out.Site, out.Hosts = site.Name, len(site.Hosts)
			}
			printed := a.print(out, func(w io.Writer) {
				if out.OK {
					fmt.Fprintf(w, "%s is sound: site %s, %s\n", out.File, out.Site, plural(out.Hosts, "host"))
				}
			})
			return errors.Join(err, printed)
		},
	}
}
