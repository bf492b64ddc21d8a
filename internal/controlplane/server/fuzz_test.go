package server

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/controlplane/engine"
	"fairlead.dev/fairlead/internal/controlplane/resource"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func serve(h http.Handler, method, path string) answer {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
	raw, _ := io.ReadAll(w.Body)
	return answer{w.Code, w.Header(), string(raw)}
}

// FuzzTarget: a path is parsed without a panic, and what it names is a path again.
func FuzzTarget(f *testing.F) {
	for _, p := range []string{box, sub + "/providers/Fairlead.Test/boxes", box + "/models/m/versions/1", box + "/providers/Fairlead.Other/addons/a/operations/o", "/providers", "/tenants", box + "/listKeys",
		"/subscriptions/s/providers/n/locations/l/operationStatuses/i", "/subscriptions//x", "/subscriptions/%2e%2e/providers/providers/providers"} {
		f.Add("GET", p)
	}
	s := &server{cfg: Config{Engine: &engine.Engine{Registry: resource.NewRegistry(testTypes()...)}}}
	f.Fuzz(func(t *testing.T, method, path string) {
		got, err := s.parseTarget(method, path)
		if err != nil || got.kind != kindResource {
			return
		}
		u := url.URL{Path: got.id.String()}
		again, err := s.parseTarget(method, u.EscapedPath())
		if err != nil || again.id.Key() != got.id.Key() {
			t.Errorf("%q is %q, which is %q (%v)", path, got.id, again.id, err)
		}
	})
}

// FuzzBody: any bytes give an object or an error that names a place in the text.
func FuzzBody(f *testing.F) {
	for _, b := range []string{`{}`, `{"a":[1,{"b":`, `[`, `{"a":{"b":1}} x`, "{\"a\":\"\xff\"}", `{"a":1,}`, "{\n\n\"x\":tru"} {
		f.Add([]byte(b))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		err := checkObject(raw)
		var m map[string]any
		if ok := json.Unmarshal(raw, &m) == nil && m != nil; err == nil && !ok {
			t.Errorf("%q accepted but is not an object", raw)
		}
		_ = pathAt(raw)
		if err != nil && strings.Contains(err.Error(), "line 0") {
			t.Errorf("%q: %v", raw, err)
		}
	})
}
