//go:build cgo

package libvirt

import (
	"context"
	"encoding/xml"
	"errors"

	lv "libvirt.org/go/libvirt"

	"holdfast/internal/hypervisor"
)

// Blocks implements [hypervisor.Host]. All but the sizes is in the definition as
// it is now, without its secrets. The sizes come from QEMU, which is not asked if
// it has another question to answer still.
func (h *Host) Blocks(ctx context.Context, uuid string) ([]hypervisor.Block, error) {
	return see(ctx, h, "list the disks of domain", uuid, func(ctx context.Context, _ *link, d *lv.Domain) ([]hypervisor.Block, error) {
		definition, err := d.GetXMLDesc(0)
		if err != nil {
			return nil, err
		}
		blocks, err := parseBlocks(definition)
		if err != nil {
			return nil, err
		}
		busy := ""
		if c, err := d.GetControlInfo(0); err == nil && c.State != lv.DOMAIN_CONTROL_OK && c.State != lv.DOMAIN_CONTROL_JOB {
			busy = "QEMU does not answer"
		}
		for i := range blocks {
			b := &blocks[i]
			switch {
			case b.Source == "":
				continue
			case busy != "" || ctx.Err() != nil:
				b.Error = busy
				continue
			}
			info, err := d.GetBlockInfo(b.Device, 0)
			if err != nil {
				b.Error = h.said(err)
				continue
			}
			b.Capacity, b.Allocation, b.Physical = info.Capacity, info.Allocation, info.Physical
		}
		return blocks, nil
	})
}

// said is the first line of what libvirt said, without a secret.
func (h *Host) said(err error) string {
	var lerr lv.Error
	if errors.As(err, &lerr) {
		return h.addr.clean(lerr.Message)
	}
	return h.addr.clean(err.Error())
}

// diskSource is where an image is.
type diskSource struct {
	File     string `xml:"file,attr"`
	Dev      string `xml:"dev,attr"`
	Dir      string `xml:"dir,attr"`
	Protocol string `xml:"protocol,attr"`
	Name     string `xml:"name,attr"`
	Pool     string `xml:"pool,attr"`
	Volume   string `xml:"volume,attr"`
}

func (s diskSource) String() string {
	switch {
	case s.File != "":
		return s.File
	case s.Dev != "":
		return s.Dev
	case s.Dir != "":
		return s.Dir
	case s.Protocol != "":
		return s.Protocol + ":" + s.Name
	case s.Volume != "":
		return s.Pool + "/" + s.Volume
	}
	return ""
}

// backingStore is an image below another; the last one is empty.
type backingStore struct {
	Format struct {
		Type string `xml:"type,attr"`
	} `xml:"format"`
	Source diskSource    `xml:"source"`
	Below  *backingStore `xml:"backingStore"`
}

type diskElement struct {
	Device string `xml:"device,attr"`
	Driver struct {
		Type string `xml:"type,attr"`
	} `xml:"driver"`
	Source diskSource `xml:"source"`
	Target struct {
		Dev string `xml:"dev,attr"`
	} `xml:"target"`
	ReadOnly *struct{}     `xml:"readonly"`
	Below    *backingStore `xml:"backingStore"`
	Mirror   *struct {
		Job   string `xml:"job,attr"`
		Ready string `xml:"ready,attr"`
	} `xml:"mirror"`
}

// longestChain bounds a chain of images.
const longestChain = 200

// parseBlocks reads the disks of a definition. Its error quotes nothing of it.
func parseBlocks(definition string) ([]hypervisor.Block, error) {
	var d struct {
		Disks []diskElement `xml:"devices>disk"`
	}
	if err := xml.Unmarshal([]byte(definition), &d); err != nil {
		return nil, errors.New("the definition cannot be read")
	}
	blocks := make([]hypervisor.Block, 0, len(d.Disks))
	for _, disk := range d.Disks {
		b := hypervisor.Block{
			Device: disk.Target.Dev, Kind: disk.Device, Source: disk.Source.String(),
			Format: disk.Driver.Type, ReadOnly: disk.ReadOnly != nil,
		}
		if b.Kind == "" {
			b.Kind = "disk"
		}
		if m := disk.Mirror; m != nil {
			b.Job = m.Job
			if m.Ready == "yes" {
				b.Job += ", ready"
			}
		}
		for below := disk.Below; below != nil && len(b.Backing) < longestChain; below = below.Below {
			if source := below.Source.String(); source != "" {
				b.Backing = append(b.Backing, hypervisor.Backing{Source: source, Format: below.Format.Type})
			}
		}
		blocks = append(blocks, b)
	}
	return blocks, nil
}
