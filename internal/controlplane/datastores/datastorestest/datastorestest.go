// Package datastorestest gives tests a front over datastores in a store that speaks S3.
package datastorestest

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/controlplane/datastores"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/types/account"
	"fairlead.dev/fairlead/internal/controlplane/types/dataaddress"
	"fairlead.dev/fairlead/internal/controlplane/types/typestest"
	"fairlead.dev/fairlead/internal/testing/s3test"
)

// Config is a Front for tests.
type Config struct {
	// Datastores are bodies by name; see Body.
	Datastores map[string]string
	// Authorize decides; nil allows all. A principal's ID is the token it sent.
	Authorize func(p resource.Principal, at dataaddress.Address, write bool) error
	Clock     func() time.Time
}

// Front is where it is served.
type Front struct {
	// Base is the address of all datastores; Account is that below it of the workspace's.
	Base, Account string
}

// New serves a front until the test ends.
func New(t testing.TB, cfg Config) Front {
	t.Helper()
	e := typestest.New(t)
	e.Ready()
	for name, body := range cfg.Datastores {
		e.Put(typestest.Workspace+"/datastores/"+name, body)
	}
	rec, err := e.Store.Get(t.Context(), strings.ToLower(typestest.Workspace))
	if err != nil {
		t.Fatal(err)
	}
	var ws struct{ Properties struct{ WorkspaceID string } }
	if err := json.Unmarshal(rec.Body, &ws); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(datastores.New(datastores.Config{
		Store: e.Store, Open: e.Deps.Open, Clock: cfg.Clock,
		Authenticate: func(r *http.Request) (resource.Principal, error) {
			id, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
			if !ok {
				return resource.Principal{}, errors.New("no token")
			}
			return resource.Principal{ID: id}, nil
		},
		Authorize: func(_ context.Context, p resource.Principal, at dataaddress.Address, write bool) error {
			if cfg.Authorize == nil {
				return nil
			}
			return cfg.Authorize(p, at, write)
		},
	}))
	t.Cleanup(srv.Close)
	base := srv.URL + strings.TrimSuffix(dataaddress.Prefix, "/")
	return Front{Base: base, Account: base + "/" + account.Name(ws.Properties.WorkspaceID)}
}

// Body is a datastore over bucket "lake" of a store that s3test runs, with further properties.
func Body(endpoint, more string) string {
	return `{"properties":{"datastoreType":"S3","bucketName":"lake","endpoint":"` + endpoint + `",` + more + `"credentials":{"credentialsType":"AccessKey","accessKeyId":"` +
		s3test.AccessKeyID + `","secrets":{"secretsType":"AccessKey","secretAccessKey":"` + s3test.SecretAccessKey + `"}}}}`
}
