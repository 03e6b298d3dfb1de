package config

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestProblemsOfEvidence(t *testing.T) {
	const url = "write it like http://{hostname}:9464"
	for name, c := range map[string]struct{ file, want string }{
		"field":        {"evidence: {folder: /e}\n", `2: evidence: unknown field "folder"; known: dir, keep, maxTotal, maxIncident, timeout, dump, tokenFile, url`},
		"list":         {"evidence: [dir]\n", `2: evidence: is a list, not a mapping; write fields under it, known: dir, keep, maxTotal, maxIncident, timeout, dump, tokenFile, url`},
		"dir":          {"evidence: {dir: e}\n", `2: evidence.dir: "e" is not the whole path of a folder; begin it with /, and end it without`},
		"dir end":      {"evidence: {dir: /e/}\n", `2: evidence.dir: "/e/" is not the whole path of a folder; begin it with /, and end it without`},
		"dir up":       {"evidence: {dir: /e/../f}\n", `2: evidence.dir: "/e/../f" is not the whole path of a folder; begin it with /, and end it without`},
		"dir root":     {"evidence: {dir: /}\n", `2: evidence.dir: "/" is not the whole path of a folder; begin it with /, and end it without`},
		"keep":         {"evidence:\n  keep: 30\n", `3: evidence.keep: "30" has no unit; add one, as in 500ms, 10s, 5m or 1h30m`},
		"keep long":    {"evidence: {keep: 9000h}\n", `2: evidence.keep: "9000h" is out of range; allowed: 1h to 8760h`},
		"total":        {"evidence: {maxTotal: 2GB}\n", `2: evidence.maxTotal: "2GB" is not a size; write it like 512KiB or 1MiB`},
		"total little": {"evidence: {maxTotal: 1KiB}\n", `2: evidence.maxTotal: "1KiB" is out of range; allowed: 1MiB to 1024GiB`},
		"total huge":   {"evidence: {maxTotal: 999999999GiB}\n", `2: evidence.maxTotal: "999999999GiB" is out of range; allowed: 1MiB to 1024GiB`},
		"incident":     {"evidence:\n  maxTotal: 10MiB\n  maxIncident: 11MiB\n", `4: evidence.maxIncident: 11MiB is more than maxTotal, 10MiB; lower it, or raise maxTotal`},
		"timeout":      {"evidence: {timeout: 2m}\n", `2: evidence.timeout: "2m" is out of range; allowed: 500ms to 10s`},
		"token":        {"evidence: {dir: /e, tokenFile: t}\n", `2: evidence.tokenFile: "t" is not the whole path of a file; begin it with /`},
		"token alone":  {"evidence: {tokenFile: /t}\n", `2: evidence.tokenFile: there is no evidence to keep or to fetch; give dir too, or leave it out`},
		"url alone":    {"evidence: {url: http://a}\n", `2: evidence.url: there is no evidence to keep or to fetch; give dir too, or leave it out`},
		"url":          {"evidence: {dir: /e, url: worker1:9464}\n", `2: evidence.url: is not a URL; ` + url},
		"url name":     {"evidence: {dir: /e, url: 'http://{host}:9464'}\n", `2: evidence.url: "http://{host}:9464" has a name in braces that is not known; known: {hostname}`},
		"url password": {"evidence: {dir: /e, url: 'http://a:b@c'}\n", `2: evidence.url: holds a user or a password, and a site file is no place for one; ` + url},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("site.yaml", []byte(minimal+c.file))
			require.Error(t, err)
			assert.Equal(t, "site.yaml:"+c.want, err.Error())
		})
	}
}

func TestURLOfAWorker(t *testing.T) {
	name, err := os.Hostname()
	require.NoError(t, err)
	for given, want := range map[string]string{
		"": "", "http://worker1:9464/": "http://worker1:9464", "https://proxy/{hostname}": "https://proxy/" + name,
		"http://{hostname}.example.net:9464": "http://" + name + ".example.net:9464",
	} {
		got, err := Evidence{URL: given}.URLOf()
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}
