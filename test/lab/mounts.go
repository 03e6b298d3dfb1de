package lab

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// mountPoint is a line of /proc/self/mountinfo.
type mountPoint struct{ at, source string }

// unescape undoes how the kernel writes characters that would end a field.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// parseMounts reads a mountinfo file, in its order: what is mounted on something
// comes after it.
func parseMounts(mountinfo string) []mountPoint {
	var points []mountPoint
	for line := range strings.Lines(mountinfo) {
		// ID, parent, device, root, mount point, options, some more, a hyphen, type, source, options
		first, second, ok := strings.Cut(line, " - ")
		before, after := strings.Fields(first), strings.Fields(second)
		if ok && len(before) > 4 && len(after) > 1 {
			points = append(points, mountPoint{at: unescape.Replace(before[4]), source: unescape.Replace(after[1])})
		}
	}
	return points
}

// detach takes away the chosen mounts of this process's view, the innermost first.
func detach(chosen func(mountPoint) bool) error {
	raw, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for _, point := range slices.Backward(parseMounts(string(raw))) {
		if !chosen(point) {
			continue
		}
		if err := unix.Unmount(point.at, unix.MNT_DETACH); err != nil && err != unix.EINVAL && err != unix.ENOENT {
			return fmt.Errorf("unmount %s: %w", point.at, err)
		}
	}
	return nil
}

// detachBelow takes away every mount on or under a path.
func detachBelow(path string) error {
	return detach(func(m mountPoint) bool { return strings.HasPrefix(m.at+"/", path+"/") })
}
