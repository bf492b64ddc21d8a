package kubeapi

import (
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func serve(t *testing.T, h http.HandlerFunc) *Client {
	t.Helper()
	srv := httptest.NewTLSServer(h)
	t.Cleanup(srv.Close)
	ca := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := New(srv.URL, ca, "", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestNodesReady(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"items":[
			{"metadata":{"name":"a"},"status":{"conditions":[{"type":"Ready","status":"True","message":"fine","lastHeartbeatTime":"2026-01-02T03:04:05Z"}]}},
			{"metadata":{"name":"b"},"status":{"conditions":[{"type":"Ready","status":"False","message":"no network plugin"}]}}]}`)
	})
	for names, want := range map[string]string{"a": "", "a b": "no network plugin", "a c": "not registered"} {
		err := c.NodesReady(t.Context(), strings.Fields(names), time.Date(2026, 1, 2, 3, 4, 5, 9, time.UTC))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("NodesReady(%s) = %v, want %q", names, err, want)
		}
	}
	if err := c.NodesReady(t.Context(), []string{"a"}, time.Date(2026, 1, 2, 3, 4, 6, 0, time.UTC)); err == nil {
		t.Error("an old heartbeat counts as ready")
	}
}

func TestApply(t *testing.T) {
	var got []string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = append(got, r.Method+" "+r.URL.Path+" "+r.Header.Get("Content-Type"))
		if strings.Contains(string(body), "bad") {
			w.WriteHeader(http.StatusUnprocessableEntity)
			_, _ = io.WriteString(w, `{"kind":"Status","message":"bad is not good"}`)
		}
	})
	manifest := "apiVersion: v1\nkind: Service\nmetadata:\n  name: dns\n  namespace: kube-system\n---\n" +
		"apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata:\n  name: system:x\n"
	if err := c.Apply(t.Context(), []byte(manifest)); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"PATCH /api/v1/namespaces/kube-system/services/dns application/apply-patch+yaml",
		"PATCH /apis/rbac.authorization.k8s.io/v1/clusterroles/system:x application/apply-patch+yaml",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("requests (-want +got):\n%s", d)
	}
	for text, part := range map[string]string{
		"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bad}\n": "bad is not good",
		"apiVersion: x/v1\nkind: Thing\nmetadata: {name: t}\n":     "no path is known",
	} {
		if err := c.Apply(t.Context(), []byte(text)); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("Apply(%q) = %v, want %q", text, err, part)
		}
	}
}

func TestPages(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path + " " + r.URL.Query().Get("continue") {
		case "/api/v1/pods ":
			_, _ = io.WriteString(w, `{"metadata":{"continue":"b&c"},"items":["one"]}`)
		case "/api/v1/pods b&c":
			_, _ = io.WriteString(w, `{"metadata":{},"items":["two"]}`)
		default:
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, `{"kind":"Status","message":"no such kind"}`)
		}
	})
	var all string
	if err := c.Pages(t.Context(), "/api/v1/pods", func(page []byte) { all += string(page) }); err != nil || !strings.Contains(all, "one") || !strings.Contains(all, "two") {
		t.Errorf("pages %q, %v", all, err)
	}
	err := c.Pages(t.Context(), "/apis/x", func([]byte) { t.Error("a page of nothing") })
	if !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "no such kind") {
		t.Errorf("error %v", err)
	}
}
