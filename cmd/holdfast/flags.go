package main

import (
	"cmp"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"holdfast/starter"
)

// vmFlags are what the commands have in common that do something to a VM.
type vmFlags struct {
	host, reason  string
	dryRun, watch bool
}

func (a *app) hostFlag(cmd *cobra.Command, f *vmFlags) {
	cmd.Flags().StringVar(&f.host, "host", "", "the `host` that the VM is on")
	must(cmd.RegisterFlagCompletionFunc("host", a.completeHosts))
}

// nameFlags are for making a snapshot or a backup.
func nameFlags(cmd *cobra.Command, name, description *string) {
	cmd.Flags().StringVar(name, "name", "", "what to `call` it; default manual- and the time")
	cmd.Flags().StringVar(description, "description", "", "a `text` to find it by later")
	must(cmd.RegisterFlagCompletionFunc("name", cobra.NoFileCompletions))
	must(cmd.RegisterFlagCompletionFunc("description", cobra.NoFileCompletions))
}

// orManual is the name that is given, or what one made by hand is called without.
func orManual(name string) string {
	return cmp.Or(name, "manual-"+time.Now().UTC().Format("20060102-150405"))
}

// incidentFlags are for what opens an incident, or tells one something.
func incidentFlags(cmd *cobra.Command, reason *string, watch *bool) {
	cmd.Flags().StringVar(reason, "reason", "", "`why`, for the incident's record")
	cmd.Flags().BoolVar(watch, "watch", false, "follow the incident until it closes or needs a person")
	must(cmd.RegisterFlagCompletionFunc("reason", cobra.NoFileCompletions))
}

// restoreFlags are for putting a VM back, which is an incident.
func restoreFlags(cmd *cobra.Command, f *vmFlags) {
	incidentFlags(cmd, &f.reason, &f.watch)
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "show what would be put back, and do nothing")
}

// mayRestore checks what is given for putting a VM back.
func (f vmFlags) mayRestore(cmd *cobra.Command) error {
	switch {
	case f.reason == "":
		return usage(cmd, "say why, with --reason: what the guest has written since is taken out of use")
	case f.dryRun && f.watch:
		return usage(cmd, "--dry-run does nothing that --watch could follow: give one of them")
	}
	return nil
}

// findVM finds a VM by name or UUID, and the one host that is to be asked about it.
func (a *app) findVM(cmd *cobra.Command, ref string, f vmFlags) (starter.Found, error) {
	inv, err := a.inventory(cmd, f.host)
	if err != nil {
		return starter.Found{}, err
	}
	found, err := starter.FindVM(inv, ref)
	if err == nil && found.Host == "" {
		err = fmt.Errorf("%s runs on no host, and no host is the only one that has it: say which is meant, with --host", found.VM)
	}
	return found, err
}
