package evidence

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
)

// maxFetched bounds what is fetched, in bytes, whatever a record says.
const maxFetched = 1 << 30

// Source is where a piece of evidence may be, and how to know that it is the one.
type Source struct {
	Bytes  int64
	SHA256 string // in hex
	Path   string // on the machine of the worker, which may be this one
	URL    string // of the worker; empty: it is served nowhere
}

// client follows no redirect, so that a token goes to the worker alone.
var client = &http.Client{
	Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// Fetch gets a piece of evidence from this machine, if it is there, or else from
// the worker that keeps it, with a token if one is given. What comes back is what
// was kept: its checksum is right. from is the path or URL that it came from.
// Errors do not hold the token. ctx bounds it.
func Fetch(ctx context.Context, s Source, token string) (data []byte, from string, err error) {
	if s.SHA256 == "" || s.Bytes < 0 || s.Bytes > maxFetched {
		return nil, "", errors.New("its checksum is not known")
	}
	data, here := s.read()
	switch {
	case here == nil:
		return data, s.Path, nil
	case s.URL == "":
		return nil, "", fmt.Errorf("%w, and no worker serves it: set evidence.url in the site file, or ask on the worker's machine", here)
	}
	if data, err = s.download(ctx, token); err != nil {
		return nil, "", fmt.Errorf("from %s: %w", host(s.URL), err)
	}
	return data, s.URL, nil
}

// read gets it from this machine. A path of another machine may mean another file here.
func (s Source) read() ([]byte, error) {
	missing := errors.New("it is not on this machine")
	info, err := os.Lstat(s.Path)
	if err != nil || !info.Mode().IsRegular() || info.Size() != s.Bytes {
		return nil, missing
	}
	data, err := os.ReadFile(s.Path)
	if err != nil {
		return nil, fmt.Errorf("it cannot be read on this machine (%w)", err)
	}
	if s.check(data) != nil {
		return nil, missing
	}
	return data, nil
}

func (s Source) download(ctx context.Context, token string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL, http.NoBody)
	if err != nil {
		return nil, errors.New("it is not a URL")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := client.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		return nil, err
	}
	defer answer.Body.Close()
	switch answer.StatusCode {
	case http.StatusOK:
	case http.StatusUnauthorized:
		return nil, errors.New("the worker wants the token of its evidence.tokenFile: give it with --token-file")
	case http.StatusForbidden:
		return nil, errors.New("the worker gives evidence to its own machine alone: set evidence.tokenFile in the site file, or ask there")
	case http.StatusNotFound:
		return nil, errors.New("the worker has it no more, or another one has it")
	default:
		return nil, errors.New("the worker answers " + answer.Status)
	}
	data, err := io.ReadAll(io.LimitReader(answer.Body, s.Bytes+1))
	if err != nil {
		return nil, err
	}
	return data, s.check(data)
}

func (s Source) check(data []byte) error {
	sum := sha256.Sum256(data)
	want, err := hex.DecodeString(s.SHA256)
	if err != nil || int64(len(data)) != s.Bytes || !bytes.Equal(sum[:], want) {
		return errors.New("it is not what was kept: its checksum is wrong")
	}
	return nil
}

// host tells people whom was asked.
func host(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return "the worker"
	}
	return u.Host
}

// SafeName reports whether a name may be that of a file in any folder.
func SafeName(name string) bool { return itemName.MatchString(name) }
