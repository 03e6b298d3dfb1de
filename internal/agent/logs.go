package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"

	"holdfast/internal/httpserver"
	"holdfast/internal/telemetry"
	"holdfast/internal/vantage/fetch"
)

// Log is a log that a domain has on its host.
type Log string

// Logs of a domain.
const (
	LogQEMU    Log = "qemu"    // what QEMU wrote, and libvirt about it
	LogConsole Log = "console" // of its serial console, if its definition names a file for it
)

// MaxLog is the most that is read of a log, from its end, in bytes.
const MaxLog = 64 << 10

// maxDefinition bounds what is read of a domain's definition, in bytes.
const maxDefinition = 4 << 20

// LogsPath is where an agent serves logs: LogsPath + log + "/" + domain.
const LogsPath = "/v1/logs/"

// Logs are the logs of the domains on this machine.
type Logs struct {
	// QEMU is libvirt's folder with the logs of QEMU.
	QEMU string
	// Definitions are libvirt's folders with definitions, the one that counts first.
	Definitions []string
}

// SystemLogs are where libvirt has them for the whole machine.
func SystemLogs() Logs {
	return Logs{QEMU: "/var/log/libvirt/qemu", Definitions: []string{"/run/libvirt/qemu", "/etc/libvirt/qemu"}}
}

// domainName is stricter than libvirt: such a name is one file in any folder.
var domainName = regexp.MustCompile(`\A[A-Za-z0-9_][A-Za-z0-9._-]{0,127}\z`)

// Tail returns the last MaxLog bytes of a domain's log, from the beginning of a
// line on. The domain is found by its name. Which file the console's is says its
// definition here on the host, and nobody who asks. A symbolic link is not
// followed, and what is no plain file is not opened.
func (l Logs) Tail(kind Log, domain string) ([]byte, error) {
	if !domainName.MatchString(domain) {
		return nil, fmt.Errorf("no log is read for a domain of that name: allowed are %s", `letters, digits, ".", "_" and "-", at most 128`)
	}
	switch kind {
	case LogQEMU:
		return readIn(l.QEMU, domain+".log", MaxLog, true)
	case LogConsole:
		file, err := l.consoleFile(domain)
		if err != nil {
			return nil, err
		}
		folder := filepath.Dir(file)
		if real, err := filepath.EvalSymlinks(folder); err != nil || real != filepath.Clean(folder) {
			return nil, fmt.Errorf("%s is reached by a symbolic link, or not at all: it is not read", file)
		}
		return readIn(folder, filepath.Base(file), MaxLog, true)
	}
	return nil, fmt.Errorf("there is no log %q: known: %s, %s", kind, LogQEMU, LogConsole)
}

// chardev is a serial port or a console of a definition.
type chardev struct {
	Type   string `xml:"type,attr"`
	Source struct {
		Path string `xml:"path,attr"`
	} `xml:"source"`
	Log struct {
		File string `xml:"file,attr"`
	} `xml:"log"`
}

func (c chardev) file() string {
	if c.Log.File != "" {
		return c.Log.File
	}
	if c.Type == "file" {
		return c.Source.Path
	}
	return ""
}

// consoleFile is the file that the first serial port or console is written to.
func (l Logs) consoleFile(domain string) (string, error) {
	missing := errors.New("no definition of it is found here")
	for _, folder := range l.Definitions {
		text, err := readIn(folder, domain+".xml", maxDefinition, false)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("its definition: %w", err)
		}
		var d struct { // of a domain, and of a running one's status, which has it inside
			Serial  []chardev `xml:"devices>serial"`
			Console []chardev `xml:"devices>console"`
			Status  struct {
				Serial  []chardev `xml:"devices>serial"`
				Console []chardev `xml:"devices>console"`
			} `xml:"domain"`
		}
		if err := xml.Unmarshal(text, &d); err != nil {
			return "", errors.New("its definition cannot be read") // and is not quoted
		}
		for _, list := range [][]chardev{d.Status.Serial, d.Serial, d.Status.Console, d.Console} {
			for _, c := range list {
				if file := c.file(); filepath.IsAbs(file) {
					return file, nil
				}
			}
		}
		missing = errors.New(`its definition names no file for a serial port: <serial type="pty"><log file="…"/> would`)
	}
	return "", missing
}

// readIn reads the first so many bytes of a plain file in a folder, or the last.
func readIn(folder, name string, most int64, last bool) ([]byte, error) {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	before, err := root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !before.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no plain file", filepath.Join(folder, name))
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !os.SameFile(before, info) {
		return nil, fmt.Errorf("%s was exchanged while it was opened", filepath.Join(folder, name))
	}
	from := int64(0)
	if last {
		from = max(info.Size()-most, 0)
	}
	text, err := io.ReadAll(io.NewSectionReader(f, from, most))
	if err == nil && from > 0 {
		if _, after, found := bytes.Cut(text, []byte("\n")); found {
			text = after
		}
	}
	return text, err
}

// LogTail is what an agent answers about a log.
type LogTail struct {
	Text []byte `json:"text,omitempty"` // base64 in JSON: a guest may have written anything
	// Error is why there is none.
	Error string `json:"error,omitempty"`
}

// serveLog answers with the end of a log, to those who have the token.
func (a *Agent) serveLog(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	want, err := a.wanted()
	switch {
	case err != nil:
		a.log.Error("nobody gets logs", "error", err)
		http.Error(w, "the agent cannot read its --token-file: see its log", http.StatusInternalServerError)
		return
	case want == "":
		http.Error(w, "logs are given only by an agent with a --token-file", http.StatusForbidden)
		return
	case !httpserver.HasBearer(r, want):
		h.Set("WWW-Authenticate", `Bearer realm="holdfast agent"`)
		http.Error(w, "send the token of --token-file as bearer", http.StatusUnauthorized)
		return
	}
	var answer LogTail
	if answer.Text, err = a.logs.Tail(Log(r.PathValue("log")), r.PathValue("domain")); err != nil {
		answer = LogTail{Error: err.Error()}
	}
	h.Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		a.log.Debug("whoever asked for a log has gone", "error", err)
	}
}

// LogRoute serves the ends of domains' logs at LogsPath.
func (a *Agent) LogRoute() telemetry.Route {
	return telemetry.Route{Pattern: "GET " + LogsPath + "{log}/{domain}", Handler: http.HandlerFunc(a.serveLog)}
}

// Log asks for the end of a domain's log. ctx bounds it. Errors name the agent's
// address, never the token.
func (c Client) Log(ctx context.Context, kind Log, domain string) ([]byte, error) {
	text, err := c.askLog(ctx, kind, domain)
	if err != nil {
		return nil, fmt.Errorf("ask the agent at %s: %w", fetch.Host(c.URL), err)
	}
	return text, nil
}

func (c Client) askLog(ctx context.Context, kind Log, domain string) ([]byte, error) {
	if err := fetch.Check(c.URL); err != nil {
		return nil, err
	}
	var answer LogTail
	_, err := fetch.JSON(ctx, fetch.Join(c.URL, LogsPath+url.PathEscape(string(kind))+"/"+url.PathEscape(domain)), c.Token, &answer)
	var status fetch.StatusError
	switch {
	case errors.As(err, &status) && status.Status == http.StatusUnauthorized:
		return nil, fmt.Errorf("%w: it wants the token of its --token-file", err)
	case errors.As(err, &status) && status.Status == http.StatusForbidden:
		return nil, fmt.Errorf("%w: it gives logs only if it was started with a --token-file", err)
	case errors.As(err, &status) && status.Status == http.StatusNotFound:
		return nil, fmt.Errorf("%w: is it a holdfast agent of this version? check the address", err)
	case err != nil:
		return nil, err
	case answer.Error != "":
		return nil, errors.New(answer.Error)
	}
	return answer.Text[max(len(answer.Text)-MaxLog, 0):], nil
}
