package blobs

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"gocloud.dev/blob/memblob"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/api/commonruntime"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types/runstate"
)

// oneRun is a store of one run that fails while err is set.
type oneRun struct {
	store.Reader
	rec store.Record
	err error
}

func (s *oneRun) Get(_ context.Context, key string) (store.Record, error) {
	if s.err == nil && key != s.rec.Key {
		return store.Record{}, store.ErrNotFound
	}
	return s.rec, s.err
}

func (s *oneRun) List(context.Context, store.Query) ([]store.Record, error) { return nil, s.err }

// TestUndecidedIsNoRefusal: runs give up on 403, so that a store which is away must not look like one.
func TestUndecidedIsNoRefusal(t *testing.T) {
	const jobKey = "/w/jobs/run1"
	state, err := runstate.State{JobID: "j1", Spec: commonruntime.JobSpec{Artifacts: "https://x/blob/" + acct + "/azureml/ExperimentRun/dcid.run1"}}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	secret := errors.New("dial 10.1.2.3:5432: refused")
	run, user := resource.Principal{Kind: "Run", Scope: jobKey, ID: runstate.PrincipalID(jobKey, "j1")}, resource.Principal{Kind: "User", ID: "u"}
	const own, other = "/azureml/ExperimentRun/dcid.run1/x", "/azureml/ExperimentRun/dcid.run2/x"
	for name, tt := range map[string]struct {
		p        resource.Principal
		store    error // of the store
		decide   error // of the authorizer in place of the real one
		path     string
		status   int
		says     string
		isLogged bool
	}{
		"run, all well":        {run, nil, nil, own, 201, "", false},
		"run, not its folder":  {run, nil, nil, other, 403, "writes only below", false},
		"run that is gone":     {resource.Principal{Kind: "Run", Scope: "/w/jobs/run2"}, nil, nil, own, 403, "does not exist any more", false},
		"agent":                {resource.Principal{Kind: "Agent"}, nil, nil, own, 403, "does not reach blobs", false},
		"user, no such name":   {user, nil, nil, own, 403, "no workspace has", false},
		"run, store is away":   {run, secret, nil, own, 503, "Please retry", true},
		"user, store is away":  {user, secret, nil, own, 503, "Please retry", true},
		"container, store too": {user, secret, nil, "/azureml?restype=container", 503, "Please retry", true},
		"role refused":         {user, nil, arm.Errorf(http.StatusForbidden, "AuthorizationFailed", "no role"), own, 403, "no role", false},
		"scope is gone":        {user, nil, arm.Errorf(http.StatusNotFound, "ResourceNotFound", "no scope"), own, 403, "no scope", false},
		"role check too busy":  {user, nil, arm.Errorf(http.StatusServiceUnavailable, "ServerBusy", "%v", secret), own, 503, "Please retry", true},
	} {
		t.Run(name, func(t *testing.T) {
			bucket := memblob.OpenBucket(nil)
			defer bucket.Close()
			a := NewAuthorizer(&oneRun{rec: store.Record{Key: jobKey, Name: "run1", Type: runstate.JobType, Internal: state}, err: tt.store},
				func(context.Context, resource.Principal, string, string) error { return nil }, nil)
			authorize := a.Authorize
			if tt.decide != nil {
				authorize = func(context.Context, resource.Principal, string, string, string, bool) error { return tt.decide }
			}
			var log bytes.Buffer
			f := New(Config{Bucket: bucket, PublicURL: "https://x", SASKey: make([]byte, 32), Authorize: authorize,
				Verify: func(*http.Request) (resource.Principal, error) { return tt.p, nil }, Log: slog.New(slog.NewTextHandler(&log, nil))})
			r := httptest.NewRequest(http.MethodPut, "https://x/blob/"+acct+tt.path, strings.NewReader("x"))
			r.Header.Set("Authorization", "Bearer t")
			r.Header.Set("x-ms-blob-type", "BlockBlob")
			w := httptest.NewRecorder()
			f.Handler().ServeHTTP(w, r)
			body := w.Body.String()
			if w.Code != tt.status || !strings.Contains(body, tt.says) || (tt.status == 503 && w.Header().Get("x-ms-error-code") != "ServerBusy") {
				t.Errorf("status %d, want %d %q; body %s", w.Code, tt.status, tt.says, body)
			}
			if strings.Contains(body, "10.1.2.3") || strings.Contains(log.String(), "10.1.2.3") != tt.isLogged {
				t.Errorf("body %s\nlog %s", body, &log)
			}
		})
	}
}
