//go:build cgo

package libvirt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	lv "libvirt.org/go/libvirt"

	"holdfast/internal/hypervisor"
)

// maxRawPicture bounds what is read of a screen before it is packed, in bytes:
// one of 4096 by 2560 pixels has 30 MiB.
const maxRawPicture = 32 << 20

// see is domain for those who only look: where calls hang, it is refused first.
func see[T any](ctx context.Context, h *Host, doing, uuid string, do func(context.Context, *link, *lv.Domain) (T, error)) (T, error) {
	return callWithin(ctx, h, mostStuckForStats, doing+" "+uuid, func(l *link) (T, error) {
		d, err := l.conn.LookupDomainByUUIDString(uuid)
		if err != nil {
			var none T
			return none, err
		}
		defer d.Free() //nolint:errcheck // the reference is gone whatever it says
		return do(ctx, l, d)
	})
}

// Screenshot implements [hypervisor.Host].
func (h *Host) Screenshot(ctx context.Context, uuid string) (hypervisor.Picture, error) {
	ctx, cancel := h.bounded(ctx)
	defer cancel()
	type screen struct {
		mime string
		data []byte
	}
	s, err := see(ctx, h, "look at the screen of domain", uuid, func(ctx context.Context, l *link, d *lv.Domain) (s screen, err error) {
		stream, err := l.conn.NewStream(0)
		if err != nil {
			return s, err
		}
		defer stream.Free() //nolint:errcheck // the reference is gone whatever it says
		if s.mime, err = d.Screenshot(stream, 0, 0); err != nil {
			return s, judge(d, err, inactive)
		}
		s.data, err = readStream(ctx, stream)
		return s, err
	})
	if err != nil {
		return hypervisor.Picture{}, err
	}
	picture, err := hypervisor.NewPicture(s.mime, s.data)
	if err != nil {
		return hypervisor.Picture{}, fmt.Errorf("look at the screen of domain %s on %s: %w", uuid, h.opts.Name, err)
	}
	return picture, nil
}

// readStream reads to the end, or until nobody waits any more.
func readStream(ctx context.Context, stream *lv.Stream) ([]byte, error) {
	var data []byte
	chunk := make([]byte, 256<<10)
	for {
		n, err := stream.Recv(chunk)
		switch {
		case errors.Is(err, io.EOF):
			return data, stream.Finish()
		case err != nil:
			_ = stream.Abort()
			return nil, err
		case n < 0 || len(data)+n > maxRawPicture:
			_ = stream.Abort()
			return nil, fmt.Errorf("it has more than %d bytes", maxRawPicture)
		case ctx.Err() != nil:
			_ = stream.Abort()
			return nil, ctx.Err()
		}
		data = append(data, chunk[:n]...)
	}
}

// Job implements [hypervisor.Host]. What libvirt knows without asking QEMU comes
// first; the job itself, which waits for whoever holds the domain, has half of
// the time that is left.
func (h *Host) Job(ctx context.Context, uuid string) (hypervisor.Job, error) {
	ctx, cancel := h.bounded(ctx)
	defer cancel()
	job, err := see(ctx, h, "read the state of the monitor of domain", uuid, func(_ context.Context, _ *link, d *lv.Domain) (hypervisor.Job, error) {
		c, err := d.GetControlInfo(0)
		if err != nil {
			return hypervisor.Job{}, judge(d, err, inactive)
		}
		return hypervisor.Job{Monitor: monitorWords[c.State], MonitorFor: time.Duration(c.StateTime) * time.Millisecond}, nil
	})
	if err != nil {
		return hypervisor.Job{}, err
	}
	if job.Monitor != hypervisor.MonitorOK && job.Monitor != hypervisor.MonitorJob {
		job.Error = "QEMU does not answer"
		return job, nil
	}
	asking, cancel := ctx, func() {}
	if end, ok := ctx.Deadline(); ok {
		asking, cancel = context.WithTimeout(ctx, time.Until(end)/2)
	}
	defer cancel()
	info, err := see(asking, h, "read the job of domain", uuid, func(_ context.Context, _ *link, d *lv.Domain) (*lv.DomainJobInfo, error) {
		info, err := d.GetJobStats(0)
		if noSupport(err) {
			return nil, nil
		}
		return info, judge(d, err, inactive)
	})
	switch {
	case errors.Is(err, hypervisor.ErrTimeout) && ctx.Err() == nil:
		job.Error = "nobody tells what the job is: " + h.said(err)
	case err != nil:
		return hypervisor.Job{}, err
	case info == nil:
		job.Error = "the hypervisor does not tell of jobs"
	default:
		fillJob(&job, info)
	}
	return job, nil
}

// fillJob puts a job into the interface's words and units. libvirt counts in ms.
func fillJob(job *hypervisor.Job, info *lv.DomainJobInfo) {
	if info.Type != lv.DOMAIN_JOB_BOUNDED && info.Type != lv.DOMAIN_JOB_UNBOUNDED {
		return // none, or one that is over
	}
	job.Doing = at(operationWords, int(info.Operation))
	job.Elapsed = time.Duration(info.TimeElapsed) * time.Millisecond
	job.Total, job.Processed, job.Remaining = info.DataTotal, info.DataProcessed, info.DataRemaining
	if !info.DataTotalSet { // a backup tells of disks alone
		job.Total, job.Processed = info.DiskTotal, info.DiskProcessed
		job.Remaining = job.Total - min(job.Processed, job.Total)
	}
}

// Dump implements [hypervisor.Host].
func (h *Host) Dump(ctx context.Context, uuid, path string) error {
	doing := "dump the memory of domain " + uuid
	if !filepath.IsAbs(path) {
		return fmt.Errorf("%s on %s: %q is not the whole path of a file", doing, h.opts.Name, path)
	}
	apart := func(s *session) (lane, error) { return s.dumps, nil }
	_, err := callIn(ctx, h, doing, apart, func(l *link) (struct{}, error) {
		d, err := l.conn.LookupDomainByUUIDString(uuid)
		if err != nil {
			return struct{}{}, err
		}
		defer d.Free() //nolint:errcheck // the reference is gone whatever it says
		err = d.CoreDumpWithFormat(path, lv.DOMAIN_CORE_DUMP_FORMAT_KDUMP_ZLIB, lv.DUMP_MEMORY_ONLY)
		// A QEMU without zlib, or of a machine for which it knows no kdump.
		if hasCode(err, lv.ERR_OPERATION_UNSUPPORTED) || hasCode(err, lv.ERR_CONFIG_UNSUPPORTED) || hasCode(err, lv.ERR_NO_SUPPORT) {
			err = d.CoreDumpWithFormat(path, lv.DOMAIN_CORE_DUMP_FORMAT_RAW, lv.DUMP_MEMORY_ONLY)
		}
		return struct{}{}, judge(d, err, inactive)
	})
	return err
}

// warmUpWitness is the part of warmUp that is used here.
func warmUpWitness(conn *lv.Connect, dom *lv.Domain) {
	stream := &lv.Stream{}
	_, _ = dom.QemuAgentCommand("", 0, 0)
	_, _ = dom.GetControlInfo(0)
	_, _ = dom.GetJobStats(0)
	_, _ = dom.GetBlockInfo("", 0)
	_ = dom.CoreDumpWithFormat("", 0, 0)
	_, _ = conn.NewStream(0)
	_, _ = dom.Screenshot(stream, 0, 0)
	_, _ = stream.Recv(make([]byte, 1))
	_ = stream.Finish()
	_ = stream.Abort()
	_ = stream.Free()
}
