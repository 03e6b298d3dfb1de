package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// parts are what a process runs. They are started one after the other and ended
// the other way round, each only when the one after it has ended.
type parts struct {
	running []*part
	ended   chan error // of a part that ended by itself
}

type part struct {
	stop   context.CancelFunc
	result chan error
}

func newParts() *parts { return &parts{ended: make(chan error, 1)} }

// start runs a part until it is stopped. Its context keeps the values of ctx and
// not its end: when to stop is up to the parts.
func (p *parts) start(ctx context.Context, name string, run func(context.Context) error) {
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	one := &part{stop: stop, result: make(chan error, 1)}
	p.running = append(p.running, one)
	go func() {
		err := run(ctx)
		if ctx.Err() == nil {
			if err == nil {
				err = errors.New("ended by itself")
			}
			err = fmt.Errorf("%s: %w", name, err)
			select {
			case p.ended <- err:
				err = nil // said once
			default: // another was first
			}
		}
		one.result <- err
	}()
}

// wait returns nil when ctx ends, and an error when a part ends before that.
func (p *parts) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-p.ended:
		return err
	}
}

// waitReady returns when ready says nil, with true. It returns false when ctx
// ends first, and an error when a part ends before that.
func (p *parts) waitReady(ctx context.Context, ready func() error) (bool, error) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for ready() != nil {
		select {
		case <-ctx.Done():
			return false, nil
		case err := <-p.ended:
			return false, err
		case <-tick.C:
		}
	}
	return true, nil
}

// stop ends every part, the last started first, and returns what went wrong.
func (p *parts) stop() error {
	var errs []error
	for _, one := range slices.Backward(p.running) {
		one.stop()
		if err := <-one.result; err != nil && !errors.Is(err, context.Canceled) {
			errs = append(errs, err)
		}
	}
	p.running = nil
	return errors.Join(errs...)
}
