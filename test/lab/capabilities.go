package lab

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Libvirt runs QEMU for two seconds to learn what it can do, and remembers it in
// a file. Each host of a lab would do so for itself; the files of an earlier lab
// spare them that. Libvirt checks a file against the QEMU, the libvirtd and the
// kernel it was made with, and makes it anew if they do not match.
const capabilities = "var-cache-libvirt/qemu/capabilities"

// seedCapabilities gives a host the files of an earlier lab, if there are any.
func (l *Lab) seedCapabilities(host, cache string) error {
	return copyFiles(filepath.Join(cache, "qemu-capabilities"), l.hostFile(host, capabilities))
}

// keepCapabilities keeps a host's files for the next lab.
func (l *Lab) keepCapabilities(host, cache string) error {
	return copyFiles(l.hostFile(host, capabilities), filepath.Join(cache, "qemu-capabilities"))
}

// copyFiles copies the files of one folder to another, each at one stroke and
// with its time. A folder that is not there is empty.
func copyFiles(from, to string) error {
	entries, err := os.ReadDir(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	for _, entry := range entries {
		if filepath.Ext(entry.Name()) != ".xml" {
			continue
		}
		content, err := os.ReadFile(filepath.Join(from, entry.Name()))
		if err != nil {
			return err
		}
		tmp, err := os.CreateTemp(to, "tmp-")
		if err != nil {
			return err
		}
		_, err = tmp.Write(content)
		if err := errors.Join(err, tmp.Close()); err != nil {
			return errors.Join(err, os.Remove(tmp.Name()))
		}
		if err := os.Rename(tmp.Name(), filepath.Join(to, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}
