package libvirt

import (
	"net/url"
	"strings"
)

// address is where a URI leads, and what of it may be shown.
type address struct {
	uri   string // as libvirt gets it
	shown string // without password and parameters
	// probe is where libvirtd can be asked whether it lives, before libvirt's own
	// connect is tried, which cannot be stopped; network is "" if it cannot.
	network, probe string
	// speaks is false if only the connection can be tried, because TLS comes first.
	speaks  bool
	secrets []string // must appear in no message
}

func parseAddress(raw string) address {
	a := address{uri: raw, shown: "(unreadable URI)"}
	u, err := url.Parse(raw)
	if err != nil {
		return a
	}
	a.shown = shownURI(u)
	if password, ok := u.User.Password(); ok && password != "" {
		a.secrets = append(a.secrets, password, url.QueryEscape(password), u.User.String())
	}
	_, transport, _ := strings.Cut(u.Scheme, "+")
	if transport == "" && u.Host != "" {
		transport = "tls"
	}
	query := u.Query()
	switch transport {
	case "tcp":
		a.network, a.probe, a.speaks = "tcp", hostPort(u, "16509"), true
	case "tls":
		a.network, a.probe = "tcp", hostPort(u, "16514")
	case "unix":
		if socket := query.Get("socket"); socket != "" {
			a.network, a.probe, a.speaks = "unix", socket, true
		}
	case "ssh":
		// Without it ssh may stop and ask for a password that nobody will type.
		if !query.Has("no_tty") {
			query.Set("no_tty", "1")
			u.RawQuery = query.Encode()
			a.uri = u.String()
		}
	}
	return a
}

func shownURI(u *url.URL) string {
	shown := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}
	if name := u.User.Username(); name != "" {
		shown.User = url.User(name)
	}
	return shown.String()
}

func hostPort(u *url.URL, port string) string {
	if p := u.Port(); p != "" {
		port = p
	}
	host := u.Hostname()
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + port
}

// clean makes a message from libvirt fit for an error or a log: one line, not
// long (QEMU's log may be in it), without the URI's password.
func (a address) clean(message string) string {
	for _, secret := range a.secrets {
		message = strings.ReplaceAll(message, secret, "…")
	}
	line, _, _ := strings.Cut(strings.TrimSpace(message), "\n")
	const most = 240
	if runes := []rune(line); len(runes) > most {
		line = string(runes[:most]) + "…"
	}
	return line
}
