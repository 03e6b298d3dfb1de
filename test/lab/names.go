package lab

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/google/uuid"
)

// Limits of one lab.
const (
	MaxHosts = 26  // named A to Z
	MaxVMs   = 100 // what a machine can carry is usually far less
)

var validName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$`)

// CheckName says what is wrong with a lab's name, or nil.
func CheckName(name string) error {
	if !validName.MatchString(name) {
		return fmt.Errorf("lab name %q: use 1 to 40 lower-case letters, digits and inner hyphens, such as %q", name, "main-default")
	}
	return nil
}

// identity is what every name outside of the lab's folder is made from: eight
// characters that follow from the folder's path, so that labs of the same name
// in two checkouts do not meet, and a lab whose folder was lost is still found.
func identity(dir string) string {
	sum := sha256.Sum256([]byte(dir))
	return hex.EncodeToString(sum[:4])
}

// uplink is the lab's interface in the root namespace (15 characters at most).
func uplink(id string) string { return "hf" + id }

// namespacePrefix begins the name of every network namespace of the lab.
func namespacePrefix(id string) string { return "hf" + id + "-" }

// switchNetNS is the namespace that the lab's bridge lives in.
func switchNetNS(id string) string { return namespacePrefix(id) + "switch" }

// hostNetNS is the namespace of a host.
func hostNetNS(id, host string) string { return namespacePrefix(id) + host }

// hostName is A for 0, B for 1 and so on.
func hostName(i int) string { return string(rune('A' + i)) }

// vmName is VM1 for 0, VM2 for 1 and so on.
func vmName(i int) string { return fmt.Sprintf("VM%d", i+1) }

// subnets is how many /24 fit into 198.18.0.0/15.
const subnets = 512

// firstSubnet is where the search for a free subnet begins: spread by identity,
// so that labs usually get the same one again and seldom want each other's.
func firstSubnet(id string) int {
	sum := sha256.Sum256([]byte("subnet " + id))
	return int(binary.BigEndian.Uint16(sum[:])) % subnets
}

// subnet is the i-th /24 of 198.18.0.0/15.
func subnet(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{198, byte(18 + i/256), byte(i % 256), 0}), 24)
}

// address is the address with the given last byte in a /24.
func address(net netip.Prefix, last int) netip.Addr {
	bytes := net.Addr().As4()
	bytes[3] = byte(last)
	return netip.AddrFrom4(bytes)
}

// rootAddress is the root namespace's end: where the worker under test is.
func rootAddress(net netip.Prefix) netip.Addr { return address(net, 1) }

// hostAddress is the i-th host's.
func hostAddress(net netip.Prefix, i int) netip.Addr { return address(net, 11+i) }

// vmAddress is the i-th guest's, on whatever host it runs. It is above those of
// the vantages.
func vmAddress(net netip.Prefix, i int) netip.Addr { return address(net, 151+i) }

// hostUUID is what the host's libvirtd calls its machine: migration between two
// that are the same is refused.
func hostUUID(id, host string) string {
	return uuid.NewSHA1(uuid.NameSpaceOID, []byte("holdfast lab "+id+" host "+host)).String()
}

// guestBridge is the bridge on every host that its guests' interfaces are on, and
// the host's own.
const guestBridge = "guests"

// taskSocket is where a host has the channel by which a guest is given tasks. It
// is in the host's /run, and goes with it.
func taskSocket(vm string) string { return filepath.Join(hostRun, "lab-"+vm+".sock") }

// macAddress is the hardware address of a host or a guest. A host's stays when it
// loses its power, as a machine's does: with another one, its peers would go on
// sending to the old one for up to a minute.
func macAddress(id, name string) string {
	sum := sha256.Sum256([]byte(id + " " + name))
	return fmt.Sprintf("52:54:00:%02x:%02x:%02x", sum[0], sum[1], sum[2])
}

// repoRoot finds the checkout: the nearest folder upwards of here, or of the
// running program, that holds the module holdfast.
func repoRoot() (string, error) {
	var starts []string
	if wd, err := os.Getwd(); err == nil {
		starts = append(starts, wd)
	}
	if exe, err := os.Executable(); err == nil {
		starts = append(starts, filepath.Dir(exe))
	}
	for _, dir := range starts {
		for ; ; dir = filepath.Dir(dir) {
			mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
			if err == nil && strings.HasPrefix(string(mod), "module holdfast\n") {
				return filepath.EvalSymlinks(dir)
			}
			if dir == filepath.Dir(dir) {
				break
			}
		}
	}
	return "", errors.New("no Holdfast checkout here: run lab inside one, it builds the guest from test/lab/witness")
}

// DefaultName is the name of a checkout's lab when none is given: that of its
// folder, with "-default" after it.
func DefaultName() (string, error) {
	root, err := repoRoot()
	if err != nil {
		return "", err
	}
	return defaultName(filepath.Base(root)), nil
}

// defaultName turns any folder name into a valid lab name.
func defaultName(folder string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '-'
	}, folder)
	name = strings.Trim(name[:min(len(name), 30)], "-")
	if name == "" {
		return "default"
	}
	return name + "-default"
}

// labDir is the absolute folder of a lab. base may be empty: build/lab of the checkout.
func labDir(base, name string) (string, error) {
	if err := CheckName(name); err != nil {
		return "", err
	}
	if base == "" {
		root, err := repoRoot()
		if err != nil {
			return "", err
		}
		base = filepath.Join(root, "build", "lab")
	}
	base, err := filepath.Abs(base)
	if err != nil {
		return "", err
	}
	// One folder must have one identity, by whatever links it is reached.
	if real, err := filepath.EvalSymlinks(base); err == nil {
		base = real
	}
	return filepath.Join(base, name), nil
}
