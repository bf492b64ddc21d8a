package blobs

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestByHost(t *testing.T) {
	for name, c := range map[string]struct{ suffix, host, path, want string }{
		"an account's host":           {"localhost:8443", "fl1234.blob.localhost:8443", "/azureml/a/b.txt", "/blob/fl1234/azureml/a/b.txt"},
		"another port, capitals":      {"localhost:8443", "FL1234.Blob.LOCALHOST", "/azureml", "/blob/fl1234/azureml"},
		"escapes stay":                {"fairlead.example.com", "fl1234.blob.fairlead.example.com", "/azureml/a%2Fb%20c", "/blob/fl1234/azureml/a%2Fb%20c"},
		"a container of a first word": {"localhost", "fl1234.blob.localhost", "/subscriptions/x", "/blob/fl1234/subscriptions/x"},
		"the account alone":           {"localhost", "fl1234.blob.localhost", "/", "/blob/fl1234/"},
		"the control plane's host":    {"localhost:8443", "localhost:8443", "/subscriptions", "/subscriptions"},
		"another suffix":              {"localhost:8443", "fl1234.blob.example.com", "/azureml/a", "/azureml/a"},
		"no account's name":           {"localhost", "a.b.blob.localhost", "/azureml/a", "/azureml/a"},
		"an address":                  {"localhost:8443", "[::1]:8443", "/azureml/a", "/azureml/a"},
		"no suffix":                   {"", "fl1234.blob.", "/azureml/a", "/azureml/a"},
	} {
		t.Run(name, func(t *testing.T) {
			var got string
			h := ByHost(c.suffix, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.URL.EscapedPath() }))
			r := httptest.NewRequest(http.MethodGet, "https://x"+c.path, nil)
			r.Host = c.host
			h.ServeHTTP(httptest.NewRecorder(), r)
			if got != c.want {
				t.Errorf("path %q, want %q", got, c.want)
			}
		})
	}
}
