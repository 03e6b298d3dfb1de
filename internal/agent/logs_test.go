package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"holdfast/internal/alert"
)

// machineLogs are logs in a folder of the test's.
func machineLogs(t *testing.T) (l Logs, dir string) {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	l = Logs{QEMU: filepath.Join(dir, "log"), Definitions: []string{filepath.Join(dir, "run"), filepath.Join(dir, "etc")}}
	for _, folder := range append(l.Definitions, l.QEMU) {
		require.NoError(t, os.Mkdir(folder, 0o700))
	}
	return l, dir
}

func write(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
}

func TestTailOfQEMU(t *testing.T) {
	l, dir := machineLogs(t)
	write(t, filepath.Join(l.QEMU, "VM1.log"), "starting up\nterminating\n")
	text, err := l.Tail(LogQEMU, "VM1")
	require.NoError(t, err)
	require.Equal(t, "starting up\nterminating\n", string(text))

	line := strings.Repeat("x", 99) + "\n"
	write(t, filepath.Join(l.QEMU, "VM1.log"), strings.Repeat(line, 1000))
	text, err = l.Tail(LogQEMU, "VM1")
	require.NoError(t, err)
	require.LessOrEqual(t, len(text), MaxLog)
	require.Greater(t, len(text), MaxLog-len(line))
	require.True(t, strings.HasPrefix(string(text), line), "from the beginning of a line on")

	_, err = l.Tail(LogQEMU, "VM2")
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = l.Tail("syslog", "VM1")
	require.ErrorContains(t, err, `no log "syslog"`)
	write(t, filepath.Join(dir, "secret.log"), "secret")
	for _, name := range []string{"", ".", "..", "../secret", "..%2fsecret", "/etc/passwd", "a/b", `a\b`, "a b", "VM1\x00", "-x", ".VM1", "VM1\n", strings.Repeat("x", 129), "VMé"} {
		_, err := l.Tail(LogQEMU, name)
		require.ErrorContains(t, err, "of that name", "%q", name)
		_, err = l.Tail(LogConsole, name)
		require.ErrorContains(t, err, "of that name", "%q", name)
	}
}

// Nothing is followed out of the folder, and nothing is opened that could hang.
func TestTailOfWhatIsNoFile(t *testing.T) {
	l, dir := machineLogs(t)
	write(t, filepath.Join(dir, "secret"), "secret")
	require.NoError(t, os.Symlink(filepath.Join(dir, "secret"), filepath.Join(l.QEMU, "out.log")))
	require.NoError(t, os.Symlink("in-really.log", filepath.Join(l.QEMU, "in.log")))
	write(t, filepath.Join(l.QEMU, "in-really.log"), "text")
	require.NoError(t, os.Mkdir(filepath.Join(l.QEMU, "folder.log"), 0o700))
	require.NoError(t, syscall.Mkfifo(filepath.Join(l.QEMU, "pipe.log"), 0o600))
	for _, name := range []string{"out", "in", "folder", "pipe"} {
		_, err := l.Tail(LogQEMU, name)
		require.ErrorContains(t, err, "no plain file", name)
	}
}

func TestTailOfTheConsole(t *testing.T) {
	l, dir := machineLogs(t)
	console := filepath.Join(dir, "VM1.log")
	write(t, console, "login:")
	serial := func(kind, more string) string {
		return fmt.Sprintf("<domain><name>VM1</name><devices><serial type='%s'>%s<target port='0'/></serial></devices></domain>", kind, more)
	}
	etc, run := filepath.Join(l.Definitions[1], "VM1.xml"), filepath.Join(l.Definitions[0], "VM1.xml")
	_, err := l.Tail(LogConsole, "VM1")
	require.ErrorContains(t, err, "no definition of it")
	for name, definition := range map[string]string{
		"a log":     serial("pty", "<source path='/dev/pts/3'/><log file='"+console+"' append='on'/>"),
		"a file":    serial("file", "<source path='"+console+"'/>"),
		"libvirt's": "<!-- WARNING: THIS IS AN AUTO-GENERATED FILE -->\n" + serial("file", "<source path='"+console+"'/>"),
		"a status":  "<domstatus state='running'><monitor path='/x'/>" + serial("file", "<source path='"+console+"'/>") + "</domstatus>",
		"a console": "<domain><devices><serial type='pty'/><console type='pty'><log file='" + console + "'/></console></devices></domain>",
	} {
		write(t, etc, definition)
		text, err := l.Tail(LogConsole, "VM1")
		require.NoError(t, err, name)
		require.Equal(t, "login:", string(text))
	}
	for definition, want := range map[string]string{
		serial("pty", "<source path='"+console+"'/>"):              "names no file",
		serial("unix", "<source mode='bind' path='"+console+"'/>"): "names no file",
		serial("file", "<source path='VM1.log'/>"):                 "names no file",
		serial("file", "<source path='/dev/null'/>"):               "no plain file",
		serial("file", "<source path='"+dir+"/link/VM1.log'/>"):    "symbolic link",
		serial("file", "<source path='"+dir+"/alias.log'/>"):       "no plain file",
		serial("file", "<source path='"+dir+"/nowhere/VM1.log'/>"): "not at all",
		"<domain><secret>hunter2</domain>":                         "cannot be read",
	} {
		_ = os.Symlink(l.QEMU, filepath.Join(dir, "link"))
		_ = os.Symlink(console, filepath.Join(dir, "alias.log"))
		write(t, etc, definition)
		_, err := l.Tail(LogConsole, "VM1")
		require.ErrorContains(t, err, want, definition)
		require.NotContains(t, err.Error(), "hunter2")
	}
	write(t, run, serial("file", "<source path='"+console+"'/>"))
	_, err = l.Tail(LogConsole, "VM1")
	require.NoError(t, err, "what it runs by counts")
}

func TestAgentGivesLogs(t *testing.T) {
	l, _ := machineLogs(t)
	write(t, filepath.Join(l.QEMU, "VM1.log"), "terminating\xff\n")
	file := filepath.Join(t.TempDir(), "token")
	write(t, file, "s3cret")
	o := options(t)
	o.TokenFile, o.Logs = alert.TokenFile(file), l
	url, _ := serve(t, o)
	text, err := Client{URL: url, Token: "s3cret"}.Log(within(t), LogQEMU, "VM1")
	require.NoError(t, err)
	require.Equal(t, "terminating\xff\n", string(text))
	for name, want := range map[string]string{"VM2": "no such file", "../VM1": "of that name"} {
		_, err = Client{URL: url, Token: "s3cret"}.Log(within(t), LogQEMU, name)
		require.ErrorContains(t, err, want)
	}
	for _, wrong := range []string{"", "s3cre"} {
		_, err = Client{URL: url, Token: wrong}.Log(within(t), LogQEMU, "VM1")
		require.ErrorContains(t, err, "401 Unauthorized")
		require.NotContains(t, err.Error(), "s3cre")
	}
}

// Figures are given to everybody if nobody asked for a token; logs never are.
func TestAgentWithoutATokenGivesNoLogs(t *testing.T) {
	o := options(t)
	o.Logs, _ = machineLogs(t)
	write(t, filepath.Join(o.Logs.QEMU, "VM1.log"), "text")
	url, _ := serve(t, o)
	_, err := Client{URL: url}.Host(within(t))
	require.NoError(t, err)
	_, err = Client{URL: url}.Log(within(t), LogQEMU, "VM1")
	require.ErrorContains(t, err, "403")
	assert.ErrorContains(t, err, "--token-file")
}
