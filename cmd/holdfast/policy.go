package main

import "github.com/spf13/cobra"

func (a *app) policyCommand() *cobra.Command {
	return asGroup(&cobra.Command{
		Use:   "policy",
		Short: "Try a policy on what has happened",
		Long: `Try a policy on what has happened. A policy is what a site file says about repairs: its
mode, ladders, budgets, backoff, what is forbidden and what needs approval. Each
incident keeps its decisions with all that they were made from, so that they can be made
again under another policy, before that one is given to the workers.

What a policy says is in docs/site.example.yaml, under mode, classes, kinds and recovery.`,
		Example: `  holdfast policy test --incident VM1 --policy site.new.yaml
  holdfast config check site.new.yaml`,
	}, a.policyTestCommand())
}
