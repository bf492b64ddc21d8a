package sync

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/link"
)

func TestFolder(t *testing.T) {
	w := newWorld(t)
	got := link.FolderRequest{}
	answer, refusal := link.Folder{URL: "https://fl.test/blob/a/c/", BlobBase: "https://fl.test/blob/", Token: "t", ExpiresIn: 3600}, error(nil)
	srv := httptest.NewUnstartedServer(New(Config{Store: w.st, Desired: w.desired, Authenticate: authenticate, Folder: func(_ context.Context, cluster string, q link.FolderRequest) (link.Folder, error) {
		if cluster != east {
			t.Errorf("asked for cluster %s", cluster)
		}
		got = q
		return answer, refusal
	}}))
	srv.StartTLS()
	t.Cleanup(srv.Close)
	none := w.srv
	w.srv = srv
	q := link.FolderRequest{Compute: "/c", Datastore: "d", Namespace: "n", Write: true}
	if f, err := w.client("ext-east", nil).Folder(t.Context(), q); err != nil || f != answer || got != q {
		t.Errorf("%+v, %v; the control plane understood %+v", f, err, got)
	}
	status := func(token string) (int, string) {
		_, err := w.client(token, nil).Folder(t.Context(), q)
		se, _ := errors.AsType[*link.StatusError](err)
		if se == nil {
			t.Fatalf("%s: %v", token, err)
		}
		return se.Status, se.Message
	}
	for token, want := range map[string]int{"agent-east": 403, "user": 403, "nobody": 401} {
		if code, _ := status(token); code != want {
			t.Errorf("%s: %d, want %d", token, code, want)
		}
	}
	refusal = arm.Errorf(404, "ResourceNotFound", "no such compute")
	if code, text := status("ext-east"); code != 404 || !strings.Contains(text, "no such compute") {
		t.Errorf("%d %s", code, text)
	}
	w.srv = none
	if code, _ := status("ext-east"); code != 403 {
		t.Errorf("a server without claims: %d", code)
	}
}
