package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"holdfast/internal/contract"
	"holdfast/starter"
)

func (a *app) vmListCommand() *cobra.Command {
	var host string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the VMs of the site's hosts",
		Long: `List every VM that the hosts of the site know, running or not, as a worker of the
site sees them now. A VM that is defined on two hosts is listed twice.

Hosts that cannot be asked are named on stderr, and their VMs are missing here; the
exit code is 0 all the same.`,
		Example: `  holdfast vm list
  holdfast vm list --host kvm1
  holdfast vm list -o json | jq -r '.[] | select(.active | not) | .vm.name'`,
		Args:              wants(),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			inv, err := a.inventory(cmd, host)
			if err != nil {
				return err
			}
			return a.print(emptyNotNull(inv.VMs), func(w io.Writer) { vmTable(w, inv.VMs) })
		},
	}
	cmd.Flags().StringVar(&host, "host", "", "only VMs of this `host`")
	must(cmd.RegisterFlagCompletionFunc("host", a.completeHosts))
	return cmd
}

// inventory asks the site what it holds, in full or for one host, and warns of
// hosts that could not be asked.
func (a *app) inventory(cmd *cobra.Command, host string) (contract.InventoryResult, error) {
	var inv contract.InventoryResult
	err := a.ask(cmd, "asking the hosts of site "+a.site, func(ctx context.Context, c *starter.Client) (err error) {
		inv, err = c.Inventory(ctx, a.site)
		return err
	})
	if err != nil {
		return inv, err
	}
	if host != "" {
		if inv, err = starter.OnHost(inv, host); err != nil {
			return inv, err
		}
	}
	a.warnOfSilentHosts(inv)
	return inv, nil
}

func (a *app) warnOfSilentHosts(inv contract.InventoryResult) {
	for _, h := range inv.Hosts {
		if !h.Connected {
			a.warn("host %s could not be asked: %s", h.Name, h.Error)
		}
	}
}

func vmTable(w io.Writer, vms []contract.VMState) {
	rows := make([][]string, len(vms))
	for i, v := range vms {
		rows[i] = []string{orNone(v.VM.Name), v.Host, v.State, orNone(v.Reason), v.VM.UUID}
	}
	columns(w, []string{"VM", "HOST", "STATE", "REASON", "UUID"}, rows)
}
