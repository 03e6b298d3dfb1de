package main

import (
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"holdfast/internal/contract"
)

func (a *app) hostListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the site's hosts and whether they answer",
		Long: `List the hosts of the site, whether a worker of the site can ask them now, how many
VMs are active on each and how many it knows.

A host that cannot be asked is listed with the reason, and named on stderr; the
exit code is 0 all the same.`,
		Example: `  holdfast host list
  holdfast host list -o json | jq -r '.[] | select(.connected | not) | .name'`,
		Args:              wants(),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			inv, err := a.inventory(cmd, "")
			if err != nil {
				return err
			}
			return a.print(emptyNotNull(inv.Hosts), func(w io.Writer) { hostTable(w, inv.Hosts) })
		},
	}
}

func hostTable(w io.Writer, hosts []contract.HostState) {
	rows := make([][]string, len(hosts))
	for i, h := range hosts {
		if h.Connected {
			rows[i] = []string{h.Name, "yes", strconv.Itoa(h.Active), strconv.Itoa(h.Defined), ""}
		} else {
			rows[i] = []string{h.Name, "no", "?", "?", h.Error}
		}
	}
	columns(w, []string{"HOST", "ANSWERS", "ACTIVE", "DEFINED", "ERROR"}, rows)
}
