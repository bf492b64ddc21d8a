package component

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLinkReadsTheTokenForEveryRequest(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Link(dir, nil); err == nil || !strings.Contains(err.Error(), "reading the endpoint") {
		t.Errorf("error %v", err)
	}
	write(KeyEndpoint, "https://fl.example\n")
	write(KeyToken, "one\n")
	if _, err := Link(dir, nil); err != nil {
		t.Fatal(err)
	}
	write(KeyCA, "not PEM")
	if _, err := Link(dir, nil); err == nil || !strings.Contains(err.Error(), "no PEM certificate") {
		t.Errorf("error %v", err)
	}
	source := fileToken(filepath.Join(dir, KeyToken))
	for _, want := range []string{"one", "two"} {
		write(KeyToken, want+"\n")
		if got, err := source(t.Context()); err != nil || got != want {
			t.Errorf("token %q, %v, want %q", got, err, want)
		}
	}
}

func TestHealth(t *testing.T) {
	var state error = errors.New("starting")
	server := httptest.NewServer(healthHandler(func() error { return state }))
	defer server.Close()
	get := func(path string) int {
		t.Helper()
		res, err := http.Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		return res.StatusCode
	}
	if got := [2]int{get("/healthz"), get("/readyz")}; got != [2]int{200, 503} {
		t.Errorf("starting: %v", got)
	}
	state = nil
	if got := [2]int{get("/healthz"), get("/readyz")}; got != [2]int{200, 200} {
		t.Errorf("ready: %v", got)
	}
}
