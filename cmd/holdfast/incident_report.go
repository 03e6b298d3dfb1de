package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/alert"
	"holdfast/internal/contract"
	kept "holdfast/internal/evidence"
	page "holdfast/internal/report"
)

type reportFlags struct {
	html      bool
	to        string
	tokenFile string
	force     bool
}

func (a *app) incidentReportCommand() *cobra.Command {
	var f reportFlags
	cmd := &cobra.Command{
		Use:   "report ID|WHAT|FILE.json",
		Short: "Write an incident as one page that tells it by itself",
		Long: `Write an incident as one HTML page: what was wrong and for how long, a timeline drawn to
scale, every try, every decision with what it was made from and what was turned down,
what people said, and the evidence. Nothing else is needed to read it, no network and
no Temporal: mail it, print it, keep it.

Screenshots and the ends of logs are fetched as by holdfast incident evidence, checked
against their checksums, and put on the page; what cannot be had is listed with the
reason. They show what the guest had on its screen: the file is for its owner alone.

The file is named after the incident, unless --to says otherwise; - is stdout. A file
that is there is left alone, unless --force is given. An incident that holdfast incident
show -o json wrote to a file, or to - for stdin, needs no Temporal; its evidence is taken
from this machine alone.`,
		Example: `  holdfast incident report VM1
  holdfast incident report VM1 --to vm1.html --force --token-file ~/.holdfast/evidence.token
  holdfast incident report incident/default/VM1/20260102-030405 --html`,
		Args:              wants("ID|WHAT|FILE.json"),
		ValidArgsFunction: a.completeIncidents,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case !f.html:
				return usage(cmd, "--html=false leaves no form to write it in: `holdfast incident show` prints it as text, json or yaml")
			case isFile(args[0]) && f.tokenFile != "":
				return usage(cmd, "--token-file is for an incident in Temporal: the addresses in a file may be anybody's")
			case f.to == "-" && a.format != formatTable:
				return usage(cmd, "--to - writes the page to stdout, where -o %s has no place: give one of them", a.format)
			}
			return a.incidentReport(cmd, args[0], f)
		},
	}
	cmd.Flags().BoolVar(&f.html, "html", true, "as a web page, which is the only form there is")
	cmd.Flags().StringVar(&f.to, "to", "", "the `file` to write, - for stdout (default: the incident's ID with .html)")
	cmd.Flags().StringVar(&f.tokenFile, "token-file", "", "`file` with the bearer token that the worker wants for evidence")
	cmd.Flags().BoolVar(&f.force, "force", false, "write over a file that is there")
	return cmd
}

// reported is what incident report prints for programs.
type reported struct {
	Incident string `json:"incident"`
	File     string `json:"file"`
	Bytes    int    `json:"bytes"`
	// Shown counts the pieces of evidence on the page, Missing those that could not
	// be fetched.
	Shown   int `json:"shown"`
	Missing int `json:"missing"`
}

func (a *app) incidentReport(cmd *cobra.Command, ref string, f reportFlags) error {
	if err := f.free(f.to); err != nil { // before anybody is asked
		return err
	}
	token := ""
	if f.tokenFile != "" {
		var err error
		if token, err = alert.TokenFile(f.tokenFile).Read(); err != nil {
			return err
		}
	}
	inc, err := a.incidentFrom(cmd, ref)
	if err != nil {
		return err
	}
	out := reported{Incident: inc.ID, File: f.to}
	if out.File == "" {
		out.File = reportName(inc.ID)
		if err := f.free(out.File); err != nil {
			return err
		}
	}
	p := page.Page{Incident: inc, Evidence: a.fetchForReport(cmd.Context(), inc, isFile(ref), token), Made: time.Now(), By: "holdfast " + thisBuild().Version}
	for _, c := range p.Evidence {
		if c.Error != "" {
			out.Missing++
		} else {
			out.Shown++
		}
	}
	var b bytes.Buffer
	if err := p.HTML(&b); err != nil {
		return err
	}
	if out.Bytes = b.Len(); out.Missing > 0 {
		a.warn("%s of evidence could not be fetched: the page says why", plural(out.Missing, "piece"))
	}
	if out.File == "-" {
		_, err = a.out.Write(b.Bytes())
		return err
	}
	if err := f.write(out.File, b.Bytes()); err != nil {
		return err
	}
	return a.print(out, func(w io.Writer) { fmt.Fprintln(w, out.File) })
}

// free says that a file is there which is not to be written over.
func (f reportFlags) free(name string) error {
	if name == "" || name == "-" || f.force {
		return nil
	}
	if _, err := os.Lstat(name); err == nil {
		return fmt.Errorf("%s is there already: --force writes over it, --to names another", name)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// write makes the file for its owner alone.
func (f reportFlags) write(name string, data []byte) error {
	how := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if f.force {
		how = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	}
	file, err := os.OpenFile(name, how, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	return errors.Join(err, file.Close())
}

// reportName is the name of an incident's file: its ID, with nothing in it that
// means something to a file system or a shell.
func reportName(id string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r == '/':
			return '-'
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_', r == '.':
			return r
		}
		return '_'
	}, id)
	return strings.TrimLeft(name, ".-") + ".html"
}

// fetchTime is the most that one piece of evidence may take.
const fetchTime = 10 * time.Second

// fetchForReport gets the pieces that a page shows. All of them together have
// --timeout; a worker that could not be reached is not asked again. The addresses
// of an incident from a file are not used: anybody may have written them.
func (a *app) fetchForReport(ctx context.Context, inc contract.Incident, fromFile bool, token string) map[page.Piece]page.Content {
	ctx, cancel := a.limited(ctx)
	defer cancel()
	defer a.progress("fetching evidence of " + inc.ID)()
	out := make(map[page.Piece]page.Content)
	gone := make(map[string]string) // by worker: why it is not asked
	for _, p := range page.Wanted(inc) {
		set := inc.Evidence[p.Set]
		why := gone[set.Worker]
		if fromFile {
			why = "it is not on this machine, and the incident is from a file, whose addresses are not trusted: write the report by the incident's ID"
		}
		data, err := fetchPiece(ctx, set.Items[p.Item], why == "", token)
		switch {
		case err == nil:
			out[p] = page.Content{Data: data}
		case why != "":
			out[p] = page.Content{Error: why}
		default:
			out[p] = page.Content{Error: err.Error()}
			if unreachable(err) {
				gone[set.Worker] = err.Error()
			}
		}
	}
	return out
}

// fetchPiece gets one piece, from this machine alone unless remote.
func fetchPiece(ctx context.Context, item contract.EvidenceItem, remote bool, token string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	source := kept.Source{Bytes: item.Bytes, SHA256: item.SHA256, Path: item.Path}
	if remote {
		source.URL = item.URL
	}
	data, _, err := kept.Fetch(ctx, source, token)
	return data, err
}

// unreachable reports that a worker's machine could not be talked to at all.
func unreachable(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) || errors.Is(err, context.DeadlineExceeded)
}
