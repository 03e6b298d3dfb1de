package config

import (
	"regexp"
	"strings"
)

// Backups are about copies of VMs' disks: of all VMs of the site, or of a class.
type Backups struct {
	// To is where they are made, and looked for: the name of a storage pool that each
	// host has, or the whole path of a folder on each. Empty: there are none, or, of a
	// class, as the site says.
	To string `yaml:"to,omitempty"`
}

// BackupsTo is where the backups are of a VM with these labels; empty: it has none.
func (s *Site) BackupsTo(labels map[string]string) string {
	if c := s.classOf(labels); c != nil && c.Backups.To != "" {
		return c.Backups.To
	}
	return s.Backups.To
}

func backupsSchema(d *decoder, b *Backups) reader {
	return d.mapping(field{"to", d.text(&b.To, checkPlace)})
}

var poolName = regexp.MustCompile(`\A[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}\z`)

func checkPoolName(s string) (message, hint string) {
	if !poolName.MatchString(s) {
		return quote(s) + " is no name of a storage pool", "write it like backups"
	}
	return "", ""
}

// checkPlace wants the name of a storage pool, or the path of a folder.
func checkPlace(s string) (message, hint string) {
	if strings.HasPrefix(s, "/") {
		return checkFolder(s)
	}
	if message, _ := checkPoolName(s); message != "" {
		return quote(s) + " is neither the name of a storage pool nor the whole path of a folder", "write it like backups, or like /srv/backups"
	}
	return "", ""
}
