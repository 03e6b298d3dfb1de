package boot

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// archive writes a cpio archive in the "newc" format, the one the kernel
// unpacks as its initramfs.
type archive struct {
	w     io.Writer
	inode int
	err   error
}

const (
	modeDir    = 0o040755
	modeFile   = 0o100755
	modeDevice = 0o020600
	modeLink   = 0o120777
)

// applets are the programs that busybox is in the guest, in /bin: what a probe or
// an order through the guest agent may have use for. Each takes time to unpack.
var applets = []string{
	"cat", "date", "dd", "df", "echo", "env", "false", "free", "grep", "head", "hostname", "httpd", "ip", "kill", "ls", "mkdir",
	"nc", "printf", "ps", "rm", "seq", "sh", "sleep", "sort", "stat", "sync", "tail", "test", "touch", "true", "uname", "uptime", "wc", "wget", "yes",
}

// add writes one entry; data is nil for a directory or a device, and for a link
// what it leads to. Errors stay
// until close, so that callers need not look after every entry.
func (a *archive) add(name string, mode, major, minor int, data []byte) {
	if a.err != nil {
		return
	}
	a.inode++
	header := fmt.Sprintf("070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		a.inode, mode, 0, 0, 1, 0, len(data), 0, 0, major, minor, len(name)+1, 0, name)
	a.write([]byte(header))
	a.write(data)
}

// write pads to 4 bytes, as the format wants after a name and after a body.
func (a *archive) write(b []byte) {
	if a.err != nil {
		return
	}
	if _, a.err = a.w.Write(b); a.err != nil {
		return
	}
	_, a.err = a.w.Write(make([]byte, (4-len(b)%4)%4))
}

func (a *archive) close() error {
	a.add("TRAILER!!!", 0, 0, 0, nil)
	return a.err
}

// writeInitrd packs the witness as /init, with busybox and the modules of a folder.
func writeInitrd(file, witness, busybox, modules string) error {
	program, err := os.ReadFile(witness)
	if err != nil {
		return err
	}
	box, err := os.ReadFile(busybox)
	if err != nil {
		return fmt.Errorf("%w; remove that folder and run lab up again", err)
	}
	names, err := filepath.Glob(filepath.Join(modules, "*.ko"))
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return fmt.Errorf("no kernel modules in %s; remove that folder's parent and run lab up again", modules)
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	buffered := bufio.NewWriter(f)
	a := &archive{w: buffered}
	a.add("dev", modeDir, 0, 0, nil)
	// The kernel opens it as init's stdin, stdout and stderr before init can mount devtmpfs.
	a.add("dev/console", modeDevice, 5, 1, nil)
	a.add("modules", modeDir, 0, 0, nil)
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		a.add("modules/"+filepath.Base(name), modeFile, 0, 0, data)
	}
	a.add("bin", modeDir, 0, 0, nil)
	a.add("bin/busybox", modeFile, 0, 0, box)
	for _, name := range applets {
		a.add("bin/"+name, modeLink, 0, 0, []byte("busybox"))
	}
	// For what such programs leave.
	a.add("tmp", modeDir, 0, 0, nil)
	a.add("init", modeFile, 0, 0, program)
	if err := a.close(); err != nil {
		return err
	}
	if err := buffered.Flush(); err != nil {
		return err
	}
	return f.Close()
}
