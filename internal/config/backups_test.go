package config

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestProblemsOfBackups(t *testing.T) {
	const place, like = ` is neither the name of a storage pool nor the whole path of a folder; `, `write it like backups, or like /srv/backups`
	for name, c := range map[string]struct{ file, want string }{
		"field":      {"backups: {dir: /b}\n", `2: backups: unknown field "dir"; known: to`},
		"name alone": {"backups: nfs\n", `2: backups: is a single value, not a mapping; write fields under it, known: to`},
		"empty":      {"backups: {to: }\n", `2: backups.to: has no value; give it one, or remove the line`},
		"nothing":    {"backups: {to: ''}\n", `2: backups.to: ""` + place + like},
		"path":       {"backups: {to: srv/backups}\n", `2: backups.to: "srv/backups"` + place + like},
		"hidden":     {"backups: {to: .backups}\n", `2: backups.to: ".backups"` + place + like},
		"root":       {"backups: {to: /}\n", `2: backups.to: "/" is not the whole path of a folder; begin it with /, and end it without`},
		"end":        {"backups: {to: /b/}\n", `2: backups.to: "/b/" is not the whole path of a folder; begin it with /, and end it without`},
		"of a class": {"classes:\n- name: a\n  select: {a: b}\n  backups: {to: /b/../c}\n", `5: classes[0].backups.to: "/b/../c" is not the whole path of a folder; begin it with /, and end it without`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("site.yaml", []byte(minimal+c.file))
			require.Error(t, err)
			assert.Equal(t, "site.yaml:"+c.want, err.Error())
		})
	}
}

func TestBackupsTo(t *testing.T) {
	const classes = "classes:\n- {name: db, select: {tier: db}, backups: {to: /srv/db}}\n- {name: web, select: {tier: web}}\n"
	db, web := map[string]string{"tier": "db"}, map[string]string{"tier": "web"}
	for _, c := range []struct {
		file, want string
		labels     map[string]string
	}{
		{"", "", nil},
		{"backups:\n", "", nil},
		{classes, "", web},
		{classes, "/srv/db", db},
		{classes + "backups: {to: nfs-1}\n", "/srv/db", db},
		{classes + "backups: {to: nfs-1}\n", "nfs-1", web},
		{classes + "backups: {to: nfs-1}\n", "nfs-1", nil},
	} {
		assert.Equal(t, c.want, parse(t, c.file).BackupsTo(c.labels), c)
	}
}
