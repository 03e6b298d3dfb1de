package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/contract"
	"holdfast/internal/fault"
	"holdfast/starter"
)

// completionTime is how long a shell may hang on the Tab key.
const completionTime = 2 * time.Second

// completion asks Temporal for words. Whatever goes wrong, there are none: a
// message would end up in the middle of somebody's command line.
func (a *app) completion(cmd *cobra.Command, typed string, words func(context.Context, *starter.Client) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	parent := cmd.Context()
	if parent == nil {
		parent = context.Background()
	}
	ctx, cancel := context.WithTimeout(parent, completionTime)
	defer cancel()
	a.siteOrDefault()
	var fitting []string
	_ = a.connected(ctx, func(c *starter.Client) error {
		all, err := words(ctx, c)
		for _, w := range all {
			if strings.HasPrefix(w, typed) {
				fitting = append(fitting, w)
			}
		}
		return err
	})
	return fitting, cobra.ShellCompDirectiveNoFileComp
}

// completeNames completes with what the site has, as hosts say now.
func (a *app) completeNames(cmd *cobra.Command, typed string, names func(contract.InventoryResult) []string) ([]string, cobra.ShellCompDirective) {
	return a.completion(cmd, typed, func(ctx context.Context, c *starter.Client) ([]string, error) {
		inv, err := c.Inventory(ctx, a.site)
		return names(inv), err
	})
}

func vmNames(inv contract.InventoryResult) (names []string) {
	for _, v := range inv.VMs {
		names = append(names, v.VM.String())
	}
	return names
}

func hostNames(inv contract.InventoryResult) (names []string) {
	for _, h := range inv.Hosts {
		names = append(names, h.Name)
	}
	return names
}

func (a *app) completeVMs(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.completeVMFlag(cmd, args, typed)
}

func (a *app) completeVMFlag(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	return a.completeNames(cmd, typed, vmNames)
}

// completeHosts completes a flag.
func (a *app) completeHosts(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	return a.completeNames(cmd, typed, hostNames)
}

// completeHost completes the only argument.
func (a *app) completeHost(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.completeHosts(cmd, args, typed)
}

// completeVMOrHost completes the only argument.
func (a *app) completeVMOrHost(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.completeNames(cmd, typed, func(inv contract.InventoryResult) []string {
		return append(hostNames(inv), vmNames(inv)...)
	})
}

// completeIncidents offers the newest incidents, by ID and by what they are about.
func (a *app) completeIncidents(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.completion(cmd, typed, func(ctx context.Context, c *starter.Client) ([]string, error) {
		list, err := c.Incidents(ctx, starter.IncidentFilter{Site: a.site})
		var words []string
		for _, i := range list {
			words = append(words, i.ID, i.Subject)
		}
		return words, err
	})
}

func kinds() []string {
	var words []string
	for _, k := range fault.Kinds() {
		words = append(words, string(k))
	}
	return words
}

func completeSiteFile(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return []string{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt
}
