package in

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// recordings are all payloads that real programs sent.
func recordings(t testing.TB) [][]byte {
	t.Helper()
	names, err := filepath.Glob("testdata/*.json")
	require.NoError(t, err)
	var out [][]byte
	for _, name := range names {
		body, err := os.ReadFile(name)
		require.NoError(t, err)
		out = append(out, body)
	}
	require.GreaterOrEqual(t, len(out), 8)
	return out
}

// FuzzPayload holds that no payload crashes the handler, and that only sound
// alerts about what the site has are taken: never more than there are of them
// by the formats alone.
func FuzzPayload(f *testing.F) {
	for _, body := range recordings(f) {
		f.Add(body)
	}
	f.Add([]byte("[" + strings.Repeat(firing[1:len(firing)-1]+",", maxAlerts-1) + firing[1:]))
	f.Add([]byte(`[{"labels":{"vm":"` + strings.Repeat("web1", 300_000) + `"}}]`))
	f.Add([]byte(strings.Repeat(`{"alerts":[`, 100_000)))

	token := tokenFile(f, "token")
	handler := func(s *site) *Handler {
		o := options(s)
		o.TokenFile = token
		return newHandler(f, o)
	}
	here, elsewhere := someSite(), &site{vms: []string{"other"}, hosts: []string{"other"}}
	ours, theirs := handler(here), handler(elsewhere)
	f.Fuzz(func(t *testing.T, body []byte) {
		here.alerts, elsewhere.alerts = nil, nil

		require.Equal(t, 401, post(ours, request(string(body))).Code)
		require.Empty(t, here.taken(), "without the token")

		w := post(ours, request(string(body)), "Authorization: Bearer token")
		require.Contains(t, []int{200, 400, 413}, w.Code)
		taken := here.taken()
		require.LessOrEqual(t, len(taken), legitimate(body, here), "of %q", body)
		for _, a := range taken {
			checkSound(t, a, here)
		}
		if w.Code == 200 {
			var answer Answer
			require.NoError(t, json.Unmarshal(w.Body.Bytes(), &answer))
			require.Equal(t, len(taken), answer.Taken)
		}

		post(theirs, request(string(body)), "Authorization: Bearer token")
		require.LessOrEqual(t, len(elsewhere.taken()), legitimate(body, elsewhere), "of %q", body)
	})
}

// checkSound holds what every alert that a Sink gets promises.
func checkSound(t *testing.T, a Alert, s *site) {
	t.Helper()
	require.Len(t, a.Fingerprint, 16)
	require.Empty(t, cannotOpen(a.Kind))
	require.True(t, slices.Contains(s.vms, a.VM) || a.VM == "" && slices.Contains(s.hosts, a.Host), "%+v", a)
	require.False(t, a.StartsAt.After(now), "%+v", a)
	require.False(t, a.EndsAt.After(now.Add(25*time.Hour)), "%+v", a)
	require.Equal(t, a.Resolved, !a.StandsAt(now), "%+v", a)
	require.LessOrEqual(t, len(a.Labels), maxLabels)
	require.LessOrEqual(t, len(a.Annotations), len(keptAnnotations))
}

// outcome is how payloads fared.
type outcome struct {
	accepted, ignored, empty, redrawn int
	refused                           map[int]int // by status
}

func (o *outcome) count(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	if w.Code != http.StatusOK {
		o.refused[w.Code]++
		return
	}
	var answer Answer
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &answer))
	switch {
	case answer.Taken > 0:
		o.accepted++
	case len(answer.Ignored) > 0:
		o.ignored++
	default:
		o.empty++
	}
}

// Ten thousand payloads that are almost right open nothing: a third is broken,
// a third comes without the right token, and a third is about a site that has
// other VMs and hosts. A mutation can leave a payload sound; of the first third
// such a one is drawn anew, for it may open a fault, and so may one that comes
// to name a VM of the other site.
//
// HOLDFAST_FUZZ_SEED runs the ones of an earlier seed.
func TestMutatedPayloadsOpenNothing(t *testing.T) {
	const rounds = 10_000
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("HOLDFAST_FUZZ_SEED"); s != "" {
		var err error
		seed, err = strconv.ParseUint(s, 10, 64)
		require.NoError(t, err)
	}
	t.Logf("HOLDFAST_FUZZ_SEED=%d", seed)
	m := mutator{r: rand.New(rand.NewPCG(seed, 3)), seeds: recordings(t)}

	token := tokenFile(t, "token")
	here, elsewhere := someSite(), &site{vms: []string{"other-vm"}, hosts: []string{"other-host"}}
	handlers := map[*site]*Handler{}
	for _, s := range []*site{here, elsewhere} {
		o := options(s)
		o.TokenFile = token
		handlers[s] = newHandler(t, o)
	}
	// As they were recorded, the payloads do open something: the test looks in the right place.
	for _, body := range m.seeds {
		if legitimate(body, here) > 0 {
			post(handlers[here], request(string(body)), "Authorization: Bearer token")
		}
	}
	require.Len(t, here.taken(), 7, "the recordings")
	here.alerts = nil

	did := outcome{refused: map[int]int{}}
	wrong := []string{"", "Bearer", "Bearer toke", "Bearer token2", "Bearer \x00", "Basic dG9rZW4=", "token", "Bearer TOKEN"}
	for round := range rounds {
		body, at, authorization := m.next(), here, "Bearer token"
		switch round % 3 {
		case 1:
			authorization = wrong[m.r.IntN(len(wrong))]
		case 2:
			at = elsewhere
		}
		for round%3 != 1 && legitimate(body, at) > 0 {
			did.redrawn++
			body = m.next()
		}
		did.count(t, post(handlers[at], request(string(body)), "Authorization: "+authorization))
		require.Empty(t, at.taken(), "seed %d, round %d: %q", seed, round, bytes.ToValidUTF8(body, []byte("?")))
	}
	require.Zero(t, did.accepted)
	require.Equal(t, rounds, did.ignored+did.empty+did.refused[400]+did.refused[401]+did.refused[413])
	t.Logf("%d payloads: %d accepted, %d well formed and ignored, %d without any alert, refused by status %v; %d more were sound and drawn anew",
		rounds, did.accepted, did.ignored, did.empty, did.refused, did.redrawn)
}
