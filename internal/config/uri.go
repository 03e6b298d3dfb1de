package config

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// defaultPorts of the transports that go to another machine, by libvirt's word
// for the transport.
var defaultPorts = map[string]string{"tcp": "16509", "tls": "16514", "ssh": "22", "libssh": "22", "libssh2": "22"}

var (
	drivers    = []string{"qemu", "test"}
	transports = []string{"unix", "tcp", "tls", "ssh", "libssh", "libssh2", "ext"}
	qemuPaths  = []string{"/system", "/session", "/embed"}
)

// checkURI wants a libvirt connection URI to QEMU or to libvirt's test driver.
// What it returns never holds the URI's password.
func checkURI(s string) (message, hint string) {
	shown := quote(s)
	u, err := url.Parse(s)
	if err != nil || u.Scheme == "" || u.Opaque != "" {
		return shown + " is not a URI", "write it like qemu+tls://kvm1.example.net/system"
	}
	if _, secret := u.User.Password(); secret || strings.Contains(u.User.Username(), ":") {
		return shown + " holds a password, and a site file is no place for one",
			"write user@host, and keep the password in libvirt's auth file (https://libvirt.org/auth.html, ?authfile=PATH)"
	}
	driver, transport := splitScheme(u)
	remote := defaultPorts[transport] != ""
	switch {
	case !slices.Contains(drivers, driver):
		return shown + " has an unknown driver " + quote(driver), didYouMean(driver, drivers)
	case !slices.Contains(transports, transport):
		return shown + " has an unknown transport " + quote(transport), didYouMean(transport, transports)
	case remote && u.Hostname() == "":
		return shown + " names no host", "the transport " + transport + " needs one: " + driver + "+" + transport + "://HOST" + orElse(u.Path, "/system")
	case transport == "unix" && u.Host != "":
		return shown + " names a host, and the transport unix stays on this machine", "use tls, tcp or ssh, or leave the host out"
	case u.Port() != "" && !validPort(u.Port()):
		return shown + " has the port " + quote(u.Port()), "allowed: 1 to 65535"
	case driver == "qemu" && !slices.Contains(qemuPaths, u.Path):
		return shown + " has the path " + quote(u.Path), "for qemu it is " + strings.Join(qemuPaths, ", ") + "; /system is the usual one"
	case driver == "test" && len(u.Path) < 2:
		return shown + " has no path", "write test:///default, or test:///PATH of a file for libvirt's test driver"
	case u.Fragment != "":
		return shown + " has a fragment, " + quote("#"+u.Fragment), "write # as %23"
	}
	return "", ""
}

// splitScheme returns the driver, and the transport that libvirt would use.
func splitScheme(u *url.URL) (driver, transport string) {
	driver, transport, given := strings.Cut(u.Scheme, "+")
	switch {
	case given:
	case u.Host == "":
		transport = "unix"
	default:
		transport = "tls"
	}
	return driver, transport
}

// daemonOf is equal for two valid URIs that surely lead to the same libvirtd. It
// does not resolve names: two names of one machine are only found once connected.
func daemonOf(uri string) string {
	u, err := url.Parse(uri)
	if err != nil {
		return uri
	}
	driver, transport := splitScheme(u)
	port := orElse(u.Port(), defaultPorts[transport])
	query := u.Query()
	id := url.Values{}
	for _, key := range []string{"socket", "root", "command"} { // what leads to another daemon
		if v := query.Get(key); v != "" {
			id.Set(key, v)
		}
	}
	return driver + "+" + transport + "://" + strings.ToLower(u.Hostname()) + ":" + port + u.Path + "?" + id.Encode()
}

func validPort(s string) bool {
	n, err := strconv.Atoi(s)
	return err == nil && n >= 1 && n <= 65535
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
