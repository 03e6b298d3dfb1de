package hypervisor

import (
	"errors"
	"fmt"
)

// Site is an ordered, read-only set of named hosts. The order is that of the
// site file, and whoever goes through the hosts goes in it, so that two
// workers with the same file do things in the same order. A nil Site is empty.
type Site struct {
	hosts  []Host
	byName map[string]Host
}

// NewSite makes a site of hosts. Two hosts of one name, or a host without one,
// are an error: a name is how everything above refers to a host.
func NewSite(hosts ...Host) (*Site, error) {
	s := &Site{hosts: make([]Host, 0, len(hosts)), byName: make(map[string]Host, len(hosts))}
	for i, h := range hosts {
		if h == nil {
			return nil, fmt.Errorf("host %d of the site is nil: give every host a driver", i)
		}
		name := h.Name()
		if name == "" {
			return nil, fmt.Errorf("host %d of the site has no name: give it one in the site file", i)
		}
		if _, dup := s.byName[name]; dup {
			return nil, fmt.Errorf("two hosts of the site are called %q: rename one in the site file", name)
		}
		s.hosts = append(s.hosts, h)
		s.byName[name] = h
	}
	return s, nil
}

// Host returns the host of that name.
func (s *Site) Host(name string) (Host, bool) {
	if s == nil {
		return nil, false
	}
	h, ok := s.byName[name]
	return h, ok
}

// Hosts returns every host, in order. The slice is the caller's own.
func (s *Site) Hosts() []Host {
	if s == nil {
		return nil
	}
	return append([]Host(nil), s.hosts...)
}

// Len is the number of hosts.
func (s *Site) Len() int {
	if s == nil {
		return 0
	}
	return len(s.hosts)
}

// Close closes every host and returns what went wrong with any of them.
func (s *Site) Close() error {
	if s == nil {
		return nil
	}
	var errs []error
	for _, h := range s.hosts {
		if err := h.Close(); err != nil {
			errs = append(errs, fmt.Errorf("close host %s: %w", h.Name(), err))
		}
	}
	return errors.Join(errs...)
}
