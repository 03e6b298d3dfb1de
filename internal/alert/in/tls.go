package in

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// TLS names the PEM files of the server's side. The zero value is no TLS.
type TLS struct {
	Cert, Key string // both or none
	// ClientCA makes it mutual: only senders with a certificate from it get through.
	ClientCA string
}

// Mutual reports whether senders need a certificate.
func (t TLS) Mutual() bool { return t.ClientCA != "" }

// Config reads the files, and returns nil if there are none. They are read
// again when one of them changes, for the connections that come then; if they
// cannot be used, the ones before stay, and log says so.
func (t TLS) Config(log *slog.Logger) (*tls.Config, error) {
	switch {
	case t == TLS{}:
		return nil, nil
	case t.Cert == "" || t.Key == "":
		return nil, errors.New("alerts in: tls takes both cert and key: set both, or none and no clientCA")
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	k := &keeper{files: t, log: log, say: rate.Sometimes{First: 1, Interval: time.Minute}}
	if err := k.load(); err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return k.config(), nil },
	}, nil
}

// keeper keeps the newest configuration that could be read.
type keeper struct {
	files TLS
	log   *slog.Logger
	say   rate.Sometimes

	mu   sync.Mutex
	seen [3]stamp
	good *tls.Config
}

// stamp is what shows that a file has changed.
type stamp struct {
	modified time.Time
	size     int64
}

func (k *keeper) config() *tls.Config {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.stamps() != k.seen {
		if err := k.load(); err != nil {
			k.say.Do(func() {
				k.log.Error("the TLS files have changed and cannot be used; going on with those before", "error", err)
			})
		}
	}
	return k.good
}

func (k *keeper) stamps() (out [3]stamp) {
	for i, name := range []string{k.files.Cert, k.files.Key, k.files.ClientCA} {
		if info, err := os.Stat(name); err == nil {
			out[i] = stamp{modified: info.ModTime(), size: info.Size()}
		}
	}
	return out
}

// load is called with mu held, or before anybody else has k.
func (k *keeper) load() error {
	seen := k.stamps() // before reading: a change in between is seen the next time
	pair, err := tls.LoadX509KeyPair(k.files.Cert, k.files.Key)
	if err != nil {
		return fmt.Errorf("alerts in: read tls.cert and tls.key: %w", err)
	}
	c := &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{pair},
		NextProtos:   []string{"http/1.1"}, // nothing here gains by HTTP/2
	}
	if k.files.Mutual() {
		if c.ClientCAs, err = readCA(k.files.ClientCA); err != nil {
			return err
		}
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	k.good, k.seen = c, seen
	return nil
}

func readCA(name string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("alerts in: read tls.clientCA: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("alerts in: tls.clientCA: %s holds no certificate in PEM", name)
	}
	return pool, nil
}
