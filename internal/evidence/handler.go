package evidence

import (
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"holdfast/internal/alert"
	"holdfast/internal/httpserver"
)

// Path is where a worker serves evidence: Path + folder + "/" + file.
const Path = "/v1/evidence/"

// Pattern is Path for http.ServeMux.
const Pattern = "GET " + Path + "{folder}/{file}"

// Handler serves a store's evidence to those who have the token; without a token
// file, to this machine alone. It belongs at Pattern.
func Handler(s *Store, token alert.TokenFile, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		if !admit(w, r, token, log) {
			return
		}
		f, item, err := s.Open(r.PathValue("folder"), r.PathValue("file"))
		switch {
		case errors.Is(err, ErrNotFound):
			http.Error(w, "no such evidence: it may have been too old, or is on another worker", http.StatusNotFound)
			return
		case err != nil:
			log.Error("evidence cannot be read", "error", err)
			http.Error(w, "the evidence cannot be read: see the worker's log", http.StatusInternalServerError)
			return
		}
		defer f.Close()
		// A guest wrote parts of it: no browser is to take it for a page of ours.
		h.Set("Content-Disposition", `attachment; filename="`+item.File+`"`)
		h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
		h.Set("Content-Type", item.MIME)
		h.Set("ETag", `"`+item.SHA256+`"`)
		http.ServeContent(w, r, "", time.Time{}, f)
	})
}

// admit answers whoever may not see evidence, and reports whether somebody may.
func admit(w http.ResponseWriter, r *http.Request, token alert.TokenFile, log *slog.Logger) bool {
	if token == "" {
		if fromHere(r) {
			return true
		}
		http.Error(w, "without evidence.tokenFile in the site file, evidence is given to the worker's own machine alone", http.StatusForbidden)
		return false
	}
	want, err := token.Read()
	if err != nil {
		log.Error("nobody gets evidence", "error", err)
		http.Error(w, "the worker cannot read its evidence.tokenFile: see its log", http.StatusInternalServerError)
		return false
	}
	if !httpserver.HasBearer(r, want) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="holdfast evidence"`)
		http.Error(w, "send the token of evidence.tokenFile as bearer", http.StatusUnauthorized)
		return false
	}
	return true
}

// fromHere: whoever asks is on this machine, by its own address, and neither
// through a proxy nor by a web page that goes under another name.
func fromHere(r *http.Request) bool {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !from.Addr().Unmap().IsLoopback() {
		return false
	}
	for _, header := range []string{"Forwarded", "X-Forwarded-For", "Via"} {
		if r.Header.Get(header) != "" {
			return false
		}
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	asked, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && asked.Unmap().IsLoopback()
}
