package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/alert"
	"holdfast/internal/contract"
	kept "holdfast/internal/evidence"
)

func (a *app) incidentEvidenceCommand() *cobra.Command {
	var save, tokenFile string
	cmd := &cobra.Command{
		Use:   "evidence ID|WHAT",
		Short: "Show or fetch what was seen of a VM before a repair changed it",
		Long: `Show what was kept of a VM before a repair did something that destroys state: its
screen, its state and reason, its job, its disks and their errors, whether its guest
agent answered, its statistics, and the ends of QEMU's log and of its serial console.
What could not be had says why. There is one set for each such step.

The incident holds names, sizes and checksums; the files are with the worker that
gathered them. --save fetches them into a folder, from this machine if they are here,
or else from the worker, and checks each against its checksum. A worker gives them to
who has the token of the site file's evidence.tokenFile; without one, to its own
machine alone. A memory dump stays on the VM's host, where the list says.

Exit code 1: something that was kept could not be fetched.`,
		Example: `  holdfast incident evidence VM1
  holdfast incident evidence VM1 --save /tmp/vm1 --token-file ~/.holdfast/evidence.token
  holdfast incident evidence incident/default/VM1/20260102-030405 -o json`,
		Args:              wants("ID|WHAT"),
		ValidArgsFunction: a.completeIncidents,
		RunE: func(cmd *cobra.Command, args []string) error {
			if tokenFile != "" && save == "" {
				return usage(cmd, "--token-file is for --save: say where to save the files")
			}
			inc, err := a.incidentOf(cmd, args[0])
			if err != nil {
				return err
			}
			if save == "" {
				if len(inc.Evidence) == 0 {
					a.hint("no evidence was gathered for %s", inc.ID)
				}
				return a.print(emptyNotNull(inc.Evidence), func(w io.Writer) { evidenceSets(w, inc.Evidence) })
			}
			return a.saveEvidence(cmd.Context(), inc, save, tokenFile)
		},
	}
	cmd.Flags().StringVar(&save, "save", "", "fetch the files into this `folder`, which is made if it is not there")
	cmd.Flags().StringVar(&tokenFile, "token-file", "", "`file` with the bearer token that the worker wants")
	must(cmd.MarkFlagDirname("save"))
	return cmd
}

// evidenceSets lists what there is.
func evidenceSets(w io.Writer, sets []contract.EvidenceSet) {
	for i, set := range sets {
		if i > 0 {
			fmt.Fprintln(w)
		}
		before := ""
		if set.Before != "" {
			before = " before " + string(set.Before)
		}
		fmt.Fprintf(w, "Set %d: %s%s, host %s, %s, kept by worker %s\n", i+1, set.Key, before, orNone(set.Host), clock(set.At), orNone(set.Worker))
		if set.Error != "" {
			fmt.Fprintln(w, "  "+set.Error)
		}
		base := folderOf(set)
		if base != "" {
			fmt.Fprintln(w, "  in "+base)
		}
		rows := make([][]string, len(set.Items))
		for j, item := range set.Items {
			rows[j] = []string{"  " + item.Name, orNone(size(item.Bytes)), span(item.Took), whereIs(set, item, base)}
		}
		if len(rows) > 0 {
			columns(w, []string{"  NAME", "SIZE", "TOOK", "WHERE"}, rows)
		}
	}
}

// folderOf is what the items of a set have in common, to be said once.
func folderOf(set contract.EvidenceSet) string {
	for _, item := range set.Items {
		switch {
		case item.Error != "" || item.OnHost:
		case item.URL != "":
			return item.URL[:strings.LastIndex(item.URL, "/")+1]
		default:
			return item.Path[:strings.LastIndex(item.Path, "/")+1]
		}
	}
	return ""
}

// whereIs says where an item is, or why it is nowhere.
func whereIs(set contract.EvidenceSet, item contract.EvidenceItem, base string) string {
	switch {
	case item.Error != "":
		return "not had: " + item.Error
	case item.OnHost:
		return fmt.Sprintf("on host %s: %s", set.Host, item.Path)
	case item.URL != "":
		return strings.TrimPrefix(item.URL, base)
	}
	return strings.TrimPrefix(item.Path, base)
}

func size(bytes int64) string {
	switch {
	case bytes == 0:
		return ""
	case bytes < 10<<10:
		return fmt.Sprintf("%d B", bytes)
	}
	return fmt.Sprintf("%d KiB", bytes>>10)
}

// savedItem is what became of an item that was to be fetched.
type savedItem struct {
	Set   int    `json:"set"` // the first is 1
	Name  string `json:"name"`
	File  string `json:"file,omitempty"`
	From  string `json:"from,omitempty"`
	Error string `json:"error,omitempty"`
}

func (a *app) saveEvidence(ctx context.Context, inc contract.Incident, dir, tokenFile string) error {
	token := ""
	if tokenFile != "" {
		var err error
		if token, err = alert.TokenFile(tokenFile).Read(); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	defer a.progress("fetching evidence of " + inc.ID)()
	var saved []savedItem
	failed := 0
	for i, set := range inc.Evidence {
		for _, item := range set.Items {
			if item.Error != "" || item.OnHost {
				continue // there is nothing to fetch
			}
			one := savedItem{Set: i + 1, Name: item.Name}
			if err := a.saveItem(ctx, &one, item, dir, token); err != nil {
				one.File, one.Error = "", err.Error()
				failed++
			}
			saved = append(saved, one)
		}
	}
	if err := a.print(emptyNotNull(saved), func(w io.Writer) { savedTable(w, saved) }); err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("%d of %s could not be fetched", failed, plural(len(saved), "file"))
	}
	if len(saved) == 0 {
		a.hint("there is nothing to fetch for %s", inc.ID)
	}
	return nil
}

func savedTable(w io.Writer, saved []savedItem) {
	for _, s := range saved {
		if s.Error != "" {
			fmt.Fprintf(w, "%s of set %d: %s\n", s.Name, s.Set, s.Error)
			continue
		}
		fmt.Fprintln(w, s.File)
	}
}

// saveItem fetches one file. Its name comes from a record and is not trusted.
func (a *app) saveItem(ctx context.Context, one *savedItem, item contract.EvidenceItem, dir, token string) error {
	if !kept.SafeName(item.Name) {
		return errors.New("its name is none of ours")
	}
	ctx, cancel := a.limited(ctx)
	defer cancel()
	data, from, err := kept.Fetch(ctx, kept.Source{Bytes: item.Bytes, SHA256: item.SHA256, Path: item.Path, URL: item.URL}, token)
	if err != nil {
		return err
	}
	one.File, one.From = filepath.Join(dir, fmt.Sprintf("%d-%s", one.Set, item.Name)), from
	if err := os.WriteFile(one.File, data, 0o600); err != nil {
		return err
	}
	return os.Chtimes(one.File, time.Time{}, item.At)
}
