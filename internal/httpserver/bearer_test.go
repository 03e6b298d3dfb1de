package httpserver

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHasBearer(t *testing.T) {
	for header, want := range map[string]bool{
		"Bearer s3cret": true, "bearer s3cret": true, "": false, "Bearer": false, "Bearer ": false, "Bearer s3cre": false,
		"Bearer s3cret2": false, "Basic s3cret": false, "s3cret": false, "Bearer  s3cret": false,
	} {
		r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
		r.Header.Set("Authorization", header)
		require.Equal(t, want, HasBearer(r, "s3cret"), "%q", header)
		require.False(t, HasBearer(r, ""), "an empty token is nobody's")
	}
}
