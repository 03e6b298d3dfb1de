//go:build cgo

package libvirt

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"

	lv "libvirt.org/go/libvirt"
)

// Where Holdfast's element is in a domain's metadata.
const (
	metadataKey = "holdfast"
	metadataURI = "https://holdfast.dev/xmlns/domain/1"
)

// Annotate implements [hypervisor.Host].
func (h *Host) Annotate(ctx context.Context, uuid, element string) error {
	plain, err := withoutNamespace(element)
	if err != nil {
		return fmt.Errorf("annotate domain %s on %s: %w", uuid, h.opts.Name, err)
	}
	return h.act(ctx, "annotate domain", uuid, func(d *lv.Domain) error {
		err := setMetadata(d, plain)
		if hasCode(err, lv.ERR_OPERATION_INVALID) { // it started or stopped in between
			err = setMetadata(d, plain)
		}
		return err
	})
}

func setMetadata(d *lv.Domain, element string) error {
	persistent, err := d.IsPersistent()
	if err != nil {
		return err
	}
	active, err := d.IsActive()
	if err != nil {
		return err
	}
	var where lv.DomainModificationImpact
	if persistent {
		where |= lv.DOMAIN_AFFECT_CONFIG
	}
	if active {
		where |= lv.DOMAIN_AFFECT_LIVE
	}
	return d.SetMetadata(lv.DOMAIN_METADATA_ELEMENT, element, metadataKey, metadataURI, where)
}

// withoutNamespace takes names apart from their prefix: libvirt puts an element
// and all below it into the namespace that the call names, under the key that
// it names, and refuses an element that has declared that already ("failed to
// create a new XML namespace").
func withoutNamespace(element string) (string, error) {
	if element == "" {
		return "", nil
	}
	var out strings.Builder
	in, to := xml.NewDecoder(strings.NewReader(element)), xml.NewEncoder(&out)
	for {
		token, err := in.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", fmt.Errorf("the element is not XML: %w", err)
		}
		if err := to.EncodeToken(plain(token)); err != nil {
			return "", fmt.Errorf("the element cannot be written: %w", err)
		}
	}
	if err := to.Close(); err != nil {
		return "", fmt.Errorf("the element is not complete: %w", err)
	}
	return out.String(), nil
}

func plain(token xml.Token) xml.Token {
	switch t := token.(type) {
	case xml.StartElement:
		start := xml.StartElement{Name: xml.Name{Local: t.Name.Local}}
		for _, a := range t.Attr {
			if a.Name.Space == "" && a.Name.Local != "xmlns" {
				start.Attr = append(start.Attr, a)
			}
		}
		return start
	case xml.EndElement:
		return xml.EndElement{Name: xml.Name{Local: t.Name.Local}}
	}
	return token
}
