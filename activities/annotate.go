package activities

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"holdfast/internal/annotation"
	"holdfast/internal/contract"
	"holdfast/internal/hypervisor"
)

// annotated is a host's entry in the reply, with what only the activity needs.
type annotated struct {
	contract.AnnotatedHost
	host    hypervisor.Host
	defined bool
	refused error // what the changes would not do to it
}

// Annotate reads what a VM's definition says to Holdfast on every host that has
// the VM, and changes it there. Every host is read before any is changed, so that
// changes which make no sense change nothing. A host that does not answer is part
// of the reply, not an error. The definition itself never leaves this function.
func (a *Activities) Annotate(ctx context.Context, in contract.AnnotateInput) (contract.AnnotateReply, error) {
	if in.VM.UUID == "" {
		return contract.AnnotateReply{}, badInput("annotate: vm.uuid is empty")
	}
	defer keepAlive(ctx)()
	found := a.eachHost(func(h hypervisor.Host) annotated { return a.readAnnotation(ctx, h, in) })
	var silent []string
	defined := false
	for _, f := range found {
		if f.refused != nil {
			return contract.AnnotateReply{}, badInput("%s", oneLine(f.refused))
		}
		if f.Error != "" && !f.defined {
			silent = append(silent, f.Host)
		}
		defined = defined || f.defined
	}
	switch {
	case !defined && len(silent) > 0:
		return contract.AnnotateReply{}, unreachable(strings.Join(silent, ", "), "does not answer, and no other host has "+in.VM.String())
	case !defined:
		return contract.AnnotateReply{}, notFound("no host of site %s has %s defined", a.opts.Site, in.VM)
	}
	if !in.DryRun {
		a.writeAnnotations(ctx, in, found)
	}
	out := contract.AnnotateReply{VM: in.VM, DryRun: in.DryRun}
	for _, f := range found {
		if f.defined || f.Error != "" {
			out.Hosts = append(out.Hosts, f.AnnotatedHost)
		}
	}
	return out, nil
}

// eachHost does something with all hosts at once; the results are in their order.
func (a *Activities) eachHost(do func(hypervisor.Host) annotated) []annotated {
	hosts := a.opts.Hosts.Hosts()
	out := make([]annotated, len(hosts))
	var wg sync.WaitGroup
	for i, h := range hosts {
		wg.Go(func() { out[i] = do(h) })
	}
	wg.Wait()
	return out
}

// readAnnotation says what one host has, and what it would have after the changes.
func (a *Activities) readAnnotation(ctx context.Context, h hypervisor.Host, in contract.AnnotateInput) annotated {
	out := annotated{host: h, AnnotatedHost: contract.AnnotatedHost{Host: h.Name()}}
	have, err := a.annotationOn(ctx, h, in.VM.UUID)
	var mistake annotation.Problem
	switch {
	case isNotFound(err):
		return out
	case errors.As(err, &mistake):
		out.Problems = strings.Split(err.Error(), "\n")
	case err != nil:
		out.Error = brief(err)
		return out
	}
	out.defined = true
	changed, err := annotation.Apply(have, in.Changes)
	if err != nil {
		out.refused = err
		return out
	}
	if out.Before, err = annotation.Element(have); err == nil {
		out.After, err = annotation.Element(changed)
	}
	if err != nil {
		out.refused = err
		return out
	}
	out.Changed = out.Before != out.After || len(in.Changes) > 0 && len(out.Problems) > 0
	return out
}

// annotationOn reads the annotation that a VM has on a host. A mistake in it is
// an error that comes with what could be understood.
func (a *Activities) annotationOn(ctx context.Context, h hypervisor.Host, uuid string) (annotation.Annotation, error) {
	ctx, cancel := context.WithTimeout(ctx, a.opts.CallTimeout)
	defer cancel()
	definition, err := h.Definition(ctx, uuid)
	if err != nil {
		return annotation.Annotation{}, err
	}
	p, err := annotation.Parse(definition)
	return p.Annotation, err
}

// writeAnnotations writes where something changes, and looks whether it took.
func (a *Activities) writeAnnotations(ctx context.Context, in contract.AnnotateInput, found []annotated) {
	var wg sync.WaitGroup
	for i := range found {
		f := &found[i]
		if !f.Changed {
			continue
		}
		wg.Go(func() {
			if err := a.writeAnnotation(ctx, f, in.VM.UUID); err != nil {
				f.Error, f.Changed = brief(err), false
			}
		})
	}
	wg.Wait()
}

func (a *Activities) writeAnnotation(ctx context.Context, f *annotated, uuid string) error {
	asking, cancel := context.WithTimeout(ctx, a.opts.CallTimeout)
	defer cancel()
	if err := f.host.Annotate(asking, uuid, f.After); err != nil {
		return err
	}
	have, err := a.annotationOn(ctx, f.host, uuid)
	if err != nil {
		return err
	}
	now, err := annotation.Element(have)
	if err == nil && now != f.After {
		err = fmt.Errorf("it was written and reads otherwise: %s", now)
	}
	return err
}

// oneLine is what several mistakes say, for an error that is shown in one line.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }
