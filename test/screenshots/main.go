// Command screenshots takes the pictures of the documentation: it runs a
// simulated site, lets its VMs fail in several ways, and photographs what the
// Temporal UI then shows an operator; and the report of an incident, if it is given
// one. `make screenshots` runs it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
)

func main() {
	binary := flag.String("holdfast", "../../bin/holdfast", "the `program` to take pictures of")
	out := flag.String("out", "../../docs/img", "`folder` for the pictures")
	report := flag.String("report", "", "page of `holdfast incident report` to take a picture of as well; empty: none")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *binary, *out, *report)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "screenshots:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, binary, out, report string) (err error) {
	s, err := startSite(ctx, binary)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	told, err := story(ctx, s)
	if err != nil {
		return err
	}
	b, err := openBrowser(ctx, setup(namespace))
	if err != nil {
		return err
	}
	defer b.close()
	var rows []string
	for _, i := range told.all {
		rows = append(rows, i.ID)
	}
	pictures := []picture{
		{"incidents.png", incidentsView(s.ui, namespace, append(rows, "needs person", "stood down", "cleared"))},
		{"incident.png", incidentView(s.ui, namespace, told.page.ID, told.page.RunID, "recovered", "failed")},
	}
	if report != "" {
		page, err := reportView(report)
		if err != nil {
			return err
		}
		pictures = append(pictures, picture{"report.png", page})
	}
	for _, p := range pictures {
		file := filepath.Join(out, p.file)
		if err := b.shoot(p.view, file); err != nil {
			return fmt.Errorf("%s: %w", p.file, err)
		}
		fmt.Println(file)
	}
	return nil
}

// picture is a file to be made of a view.
type picture struct {
	file string
	view view
}

// told is what the pictures are taken of.
type told struct {
	page incident // a repair that took two tries
	all  []incident
}

// story lets VMs fail, each in another way, and returns when their incidents
// stand where they should in the pictures.
func story(ctx context.Context, s *site) (told, error) {
	var t told
	for _, command := range []string{
		"recover VM6", // which is running: nothing to do
		"sim kill VM1", "sim panic VM2",
		"sim fail-starts VM4 9", "sim kill VM4",
		"sim fail-starts VM7 1", "sim kill VM7",
		"sim kill VM5",
	} {
		if err := s.do(ctx, command); err != nil {
			return t, err
		}
	}
	// A person steps in while Holdfast verifies its repair.
	if err := s.awaitStart(ctx, "VM5"); err != nil {
		return t, err
	}
	if err := s.do(ctx, "sim destroy VM5"); err != nil {
		return t, err
	}
	for _, want := range []struct{ vm, outcome string }{
		{"VM6", "cleared"}, {"VM1", "recovered"}, {"VM2", "recovered"}, {"VM7", "recovered"}, {"VM5", "stood down"},
	} {
		if err := s.await(ctx, want.vm, want.outcome, func(i incident) bool { return i.Outcome == want.outcome }); err != nil {
			return t, err
		}
	}
	if err := s.await(ctx, "VM4", "waiting for a person", func(i incident) bool { return i.NeedsPerson }); err != nil {
		return t, err
	}
	// And one that is being repaired while the picture is taken: the waits
	// between its tries add up to a quarter of a minute.
	for _, command := range []string{"sim fail-starts VM9 4", "sim kill VM9"} {
		if err := s.do(ctx, command); err != nil {
			return t, err
		}
	}
	if err := s.await(ctx, "VM9", "being restarted", func(i incident) bool { return i.Stage == "restart" }); err != nil {
		return t, err
	}
	var err error
	if t.all, err = s.incidents(ctx); err != nil {
		return t, err
	}
	i := slices.IndexFunc(t.all, func(i incident) bool { return i.VM == "VM7" })
	t.page = t.all[i]
	return t, nil
}
