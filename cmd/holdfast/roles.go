package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"
	"go.temporal.io/sdk/client"

	"holdfast/activities"
	"holdfast/internal/config"
	kept "holdfast/internal/evidence"
	"holdfast/internal/fault"
	"holdfast/internal/hypervisor"
	"holdfast/internal/hypervisor/libvirt"
	"holdfast/internal/telemetry"
	"holdfast/starter"
	"holdfast/worker"
)

// loadSite reads a site file, which also says what the site is called.
func (a *app) loadSite(cmd *cobra.Command, path string) (*config.Site, error) {
	site, err := config.Load(path)
	if err != nil {
		return nil, err
	}
	if cmd.Flags().Changed("site") && a.site != site.Name {
		return nil, usage(cmd, "--site is %q, and %s is about site %q: leave the flag out", a.site, path, site.Name)
	}
	a.site = site.Name
	return site, nil
}

// libvirtSite makes a connection to every host of a site. None is used yet, so
// hosts that are away do not matter.
func libvirtSite(site *config.Site, log *slog.Logger) (*hypervisor.Site, error) {
	var hosts []hypervisor.Host
	var errs []error
	for _, h := range site.Hosts {
		host, err := libvirt.New(libvirt.Options{
			Name: h.Name, URI: h.URI, CallTimeout: site.Monitor.CallTimeout, Logger: log,
		})
		if err != nil {
			errs = append(errs, err)
			break // the next would fail alike
		}
		hosts = append(hosts, host)
	}
	if len(errs) == 0 {
		all, err := hypervisor.NewSite(hosts...)
		if err == nil {
			return all, nil
		}
		errs = append(errs, err)
	}
	for _, h := range hosts {
		errs = append(errs, h.Close())
	}
	return nil, errors.Join(errs...)
}

// role is what a worker and a monitor are made of.
type role struct {
	site      *config.Site
	hosts     *hypervisor.Site
	temporal  client.Client
	namespace string
	listen    string // host:port of the worker
	metrics   *telemetry.Metrics
	log       *slog.Logger
}

func (r role) worker(injector activities.Injector) (*working, error) {
	url, err := r.evidenceURL()
	if err != nil {
		return nil, err
	}
	w := &working{role: r}
	if w.store, err = r.evidence(); err != nil {
		return nil, err
	}
	if w.Service, err = r.service(w.store, url, injector); err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

func (r role) service(store *kept.Store, url string, injector activities.Injector) (*worker.Service, error) {
	acts, err := activities.New(activities.Options{
		Site: r.site.Name, Hosts: r.hosts, Policy: r.site.Recovery.Policy(), PolicyFor: r.site.PolicyFor, BackupsTo: r.site.BackupsTo, Vote: r.vote,
		CallTimeout: r.site.Monitor.CallTimeout, Logger: r.log, Injector: injector,
		Evidence: store, EvidenceURL: url, EvidenceTimeout: r.site.Evidence.Timeout, Logs: r.logs,
		Snapshots: r.snapshotPolicy, AskGuardian: starter.New(r.temporal).Snapshot,
	})
	if err != nil {
		return nil, err
	}
	return worker.NewService(worker.ServiceOptions{
		Options:   worker.Options{Client: r.temporal, Site: r.site.Name, Activities: acts},
		Hosts:     r.hosts,
		Schedules: schedules(r.site),
		Namespace: r.namespace, CallTimeout: r.site.Monitor.CallTimeout, Logger: r.log,
	})
}

// vote looks at a host from where the worker is, besides libvirt.
func (r role) vote(ctx context.Context, host string) []fault.Vote {
	var votes []fault.Vote
	for _, h := range r.site.Hosts {
		if h.Name != host {
			continue
		}
		for _, p := range direct(h.URI) {
			votes = append(votes, p.Look(ctx))
		}
	}
	return votes
}

// runner is a role that is ready to run.
type runner interface {
	Run(ctx context.Context) error
	Ready() error
	// routes are what it answers beside metrics and health.
	routes() []telemetry.Route
}

// serveRole runs a worker or a monitor on real hosts until the process is told
// to stop.
func (a *app) serveRole(cmd *cobra.Command, name, path string, listen func(*config.Site) string, build func(role) (runner, error)) (err error) {
	ctx := cmd.Context()
	log := a.logger(slog.LevelInfo).With("role", name)
	site, err := a.loadSite(cmd, path)
	if err != nil {
		return err
	}
	r := role{site: site, log: log, listen: listen(site)}
	if r.hosts, err = libvirtSite(site, log); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.hosts.Close()) }()
	if r.metrics, err = telemetry.NewMetrics("holdfast-" + name); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.metrics.Shutdown(context.WithoutCancel(ctx))) }()
	o := a.dialOptions()
	o.Logger, o.Metrics = telemetry.TemporalLogger(log), r.metrics.TemporalHandler()
	target, err := o.Target()
	if err != nil {
		return err
	}
	r.namespace = target.Namespace
	if r.temporal, err = starter.Dial(o); err != nil {
		return err
	}
	defer r.temporal.Close()
	run, err := build(r)
	if err != nil {
		return err
	}
	server, err := telemetry.Listen(r.listen, r.metrics, run.Ready, run.routes()...)
	if err != nil {
		return err
	}
	log.Info("starting", "site", site.Name, "hosts", len(site.Hosts), "temporal", target.Address,
		"namespace", target.Namespace, "listening", server.Addr().String(), "version", telemetry.Version())
	fmt.Fprintf(a.out, "listening on %s\n", server.Addr())
	all := newParts()
	all.start(ctx, "metrics and health", server.Run)
	all.start(ctx, name, run.Run)
	err = all.wait(ctx)
	log.Info("stopping")
	return errors.Join(err, all.stop())
}
