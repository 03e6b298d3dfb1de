package arch

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// goMod is what `go mod edit -json` says of the modules that are required.
type goMod struct {
	Require []struct {
		Path     string
		Indirect bool
	}
}

// Every module that is used directly is accounted for, and no other is.
func TestDependenciesAreAccountedFor(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "go", "mod", "edit", "-json")
	cmd.Dir = top
	out, err := cmd.Output()
	require.NoError(t, err)
	var mod goMod
	require.NoError(t, json.Unmarshal(out, &mod))
	doc, err := os.ReadFile(filepath.Join(top, "docs", "dependencies.md"))
	require.NoError(t, err)

	undocumented, stale := compare(mod, string(doc))
	require.Empty(t, undocumented, "say in docs/dependencies.md what they are for, and why they and no others")
	require.Empty(t, stale, "docs/dependencies.md lists what go.mod does not require: take it out")
}

func TestDependenciesCompare(t *testing.T) {
	var mod goMod
	require.NoError(t, json.Unmarshal([]byte(`{"Require": [
		{"Path": "example.com/a"},
		{"Path": "example.com/b/sub"},
		{"Path": "example.com/c", "Indirect": true}
	]}`), &mod))
	undocumented, stale := compare(mod, "## Modules\n"+
		"| `example.com/a` | x |\n| `example.com/b` | x |\nsee `example.com/d`\n"+
		"## Tools\n| `tool` | x |\n")
	require.Equal(t, []string{"example.com/b/sub"}, undocumented)
	require.Equal(t, []string{"example.com/b"}, stale)
}

// A row of the table of modules begins with the module's path.
var moduleRow = regexp.MustCompile("(?m)^\\| `([^`@]+)` \\|")

func compare(mod goMod, doc string) (undocumented, stale []string) {
	required := map[string]bool{}
	for _, r := range mod.Require {
		required[r.Path] = r.Indirect
	}
	documented := map[string]bool{}
	_, doc, _ = strings.Cut(doc, "## Modules\n")
	doc, _, _ = strings.Cut(doc, "\n## ")
	for _, row := range moduleRow.FindAllStringSubmatch(doc, -1) {
		documented[row[1]] = true
	}
	for _, name := range slices.Sorted(maps.Keys(required)) {
		if indirect := required[name]; !indirect && !documented[name] {
			undocumented = append(undocumented, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(documented)) {
		if _, ok := required[name]; !ok {
			stale = append(stale, name)
		}
	}
	return undocumented, stale
}

// installs matches a command that installs Debian packages.
var installs = regexp.MustCompile(`\b(apt|apt-get|aptitude)\b[^\n#]*\sinstall\s|\bdpkg\b[^\n#]*\s(-i|--install)\b`)

// mayInstall are the only files with such a command.
var mayInstall = map[string]string{
	"deploy/install-packages.sh": "reads deploy/packages.txt and lists like it",
	"deploy/Dockerfile":          "an image holds what Holdfast needs to run, not what its tests need",
}

// Packages of the distribution are named in deploy/packages.txt and the lists
// beside it alone, so that one place says what a machine needs.
func TestPackagesAreListedOnce(t *testing.T) {
	scripts := sources(t, func(path string) bool {
		return !strings.HasSuffix(path, ".md") && !strings.HasPrefix(path, "test/arch/")
	})
	for name, content := range scripts {
		if _, ok := mayInstall[name]; !ok {
			require.Empty(t, installs.FindAllString(content, -1),
				"%s: put the package into deploy/packages.txt and use `make packages`", name)
		}
	}
	list, err := os.ReadFile(filepath.Join(top, "deploy", "packages.txt"))
	require.NoError(t, err)
	require.NotEmpty(t, list)
}

func TestInstallsIsRecognised(t *testing.T) {
	for _, command := range []string{
		"apt-get install -y qemu", "sudo apt install qemu", "apt-get -q -y --no-install-recommends install x", "dpkg -i x.deb",
	} {
		require.True(t, installs.MatchString(command), command)
	}
	for _, other := range []string{"apt-get update", "install -m 755 a b", "dpkg -l | grep x", "apt-get update (or deploy/install-packages.sh)", "adapt the install script"} {
		require.False(t, installs.MatchString(other), other)
	}
}
