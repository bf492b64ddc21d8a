// Package history serves what clients ask of a run besides the job resource: the discovery document of a workspace, run
// details with links to log files, and log files themselves, kept or live.
//
//	GET /discovery/workspaces/{id}                               where the services are (no token)
//	GET /history/v1.0/{workspace}/runs/{run}[/details]           also below /experiments/{e} and /experimentids/{e}
//	GET /history/v1.0/{workspace}/runs/{run}/logs                names and sizes
//	GET /history/v1.0/{workspace}/runs/{run}/logs/{path}         bytes from ?offset=, with ?follow=true until the run ends
package history

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"strings"
	"time"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/api/commonruntime"
	"fairlead.dev/fairlead/internal/controlplane/blobs"
	"fairlead.dev/fairlead/internal/controlplane/desired"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types/runstate"
	"fairlead.dev/fairlead/internal/link"
)

// Blobs is the part of the blob front that holds runs' artifacts.
type Blobs interface {
	List(ctx context.Context, account, container, prefix string) ([]blobs.Item, error)
	NewReader(ctx context.Context, account, container, name string, offset int64) (io.ReadCloser, int64, error)
	BlobSAS(account, container, name, perms string, ttl time.Duration) string
}

// OpenFunc reaches a target in a cluster through the relay.
type OpenFunc func(ctx context.Context, cluster string, t link.Target) (net.Conn, error)

// Config is what New needs.
type Config struct {
	Store store.Reader
	// Desired opens jobs of a cluster's desired map, for their log keys.
	Desired *desired.Map
	Blobs   Blobs
	// Open is the relay's; nil means that logs are read from what is kept only.
	Open         OpenFunc
	Authenticate func(*http.Request) (resource.Principal, error)
	// Authorize checks a permission ("read") on a scope's Key.
	Authorize func(ctx context.Context, p resource.Principal, permission, scopeKey string) error
	// LogKey gives the secret of a job's file server; nil reads it from the job in the cluster's desired map.
	LogKey    func(ctx context.Context, cluster, jobID string) (string, error)
	PublicURL string
	// Poll is how often a follower looks for kept bytes when it is not live; 0 means 1 s.
	Poll time.Duration
	// RetryLive is how often a follower tries to become live again; 0 means 5 s.
	RetryLive time.Duration
	Clock     func() time.Time
	Log       *slog.Logger
}

// Server serves histories.
type Server struct{ cfg Config }

// New makes a Server.
func New(cfg Config) *Server {
	cfg.PublicURL = strings.TrimSuffix(cfg.PublicURL, "/")
	if cfg.Poll == 0 {
		cfg.Poll = time.Second
	}
	if cfg.RetryLive == 0 {
		cfg.RetryLive = 5 * time.Second
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{cfg: cfg}
	if cfg.LogKey == nil {
		s.cfg.LogKey = s.desiredLogKey
	}
	return s
}

// DiscoveryPrefix and HistoryPrefix are the path prefixes that Handler serves.
const (
	DiscoveryPrefix = "/discovery/workspaces/"
	HistoryPrefix   = "/history/v1.0/"
)

const workspacePattern = "/history/v1.0/subscriptions/{s}/{resourceGroups}/{g}/providers/{ns}/{workspaces}/{w}"

// Handler serves DiscoveryPrefix, HistoryPrefix and DataPrefix.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+DiscoveryPrefix+"{id}", s.discovery)
	for _, below := range []string{"/runs/{run}", "/experiments/{e}/runs/{run}", "/experimentids/{e}/runs/{run}"} {
		base := "GET " + workspacePattern + below
		mux.HandleFunc(base, s.run(s.getRun))
		mux.HandleFunc(base+"/details", s.run(s.getDetails))
		mux.HandleFunc(base+"/children", s.run(func(w http.ResponseWriter, _ *http.Request, _ *job) error {
			return writeJSON(w, map[string]any{"value": []any{}})
		}))
		mux.HandleFunc(base+"/logs", s.run(s.listLogs))
		mux.HandleFunc(base+"/logs/{path...}", s.run(s.getLog))
	}
	mux.HandleFunc("POST "+workspacePattern+"/rundata", s.handle(s.runData))
	s.handleAssets(mux)
	mux.HandleFunc(HistoryPrefix, s.handle(func(http.ResponseWriter, *http.Request) error {
		return arm.Errorf(http.StatusNotFound, "NotFound", "There is no such operation in the run history service.")
	}))
	return mux
}

var workspaceIDRule = regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`)

// discovery needs no token and says the same for every workspace, so that it tells nobody which exist.
func (s *Server) discovery(w http.ResponseWriter, r *http.Request) {
	if !workspaceIDRule.MatchString(r.PathValue("id")) {
		s.fail(w, r, arm.Errorf(http.StatusNotFound, "NotFound", "%.80q is not a workspace's id.", r.PathValue("id")))
		return
	}
	doc := map[string]string{}
	for _, k := range []string{"api", "history", "experimentation", "artifact", "assetstore", "mlflow", "studio", "modelmanagement", "hyperdrive", "catalog"} {
		doc[k] = s.cfg.PublicURL
	}
	_ = writeJSON(w, doc)
}

// handle turns an error into its answer.
func (s *Server) handle(h func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := h(w, r); err != nil {
			s.fail(w, r, err)
		}
	}
}

// run authenticates, finds the run, and authorizes reading it.
func (s *Server) run(h func(http.ResponseWriter, *http.Request, *job) error) http.HandlerFunc {
	return s.handle(func(w http.ResponseWriter, r *http.Request) error {
		j, err := s.authorized(r, r.PathValue("run"))
		if err != nil {
			return err
		}
		return h(w, r, j)
	})
}

func (s *Server) authorized(r *http.Request, run string) (*job, error) {
	p, ws, err := s.caller(r)
	if err != nil {
		return nil, err
	}
	id, err := arm.ParseID(ws.String() + "/jobs/" + run)
	if err != nil {
		return nil, arm.Errorf(http.StatusBadRequest, "InvalidResourceId", "%v", err)
	}
	if p.Kind == "Run" {
		if p.Scope != id.Key() {
			return nil, arm.Errorf(http.StatusForbidden, "AuthorizationFailed", "A run's token reads its own history only.")
		}
	} else if err := s.authorize(r, p, id); err != nil {
		return nil, err
	}
	j, err := s.job(r.Context(), id.Key())
	if err == nil && p.Kind == "Run" && (j.state.JobID == "" || p.ID != runstate.PrincipalID(j.rec.Key, j.state.JobID)) {
		return nil, arm.Errorf(http.StatusForbidden, "AuthorizationFailed", "The token is of another run that had this name and was deleted.")
	}
	return j, err
}

// caller is who asks, and the workspace in the path.
func (s *Server) caller(r *http.Request) (resource.Principal, arm.ID, error) {
	p, err := s.cfg.Authenticate(r)
	if err != nil {
		var ae *arm.Error
		if errors.As(err, &ae) {
			return p, arm.ID{}, err
		}
		return p, arm.ID{}, arm.Errorf(http.StatusUnauthorized, "InvalidAuthenticationToken", "%v", err)
	}
	for name, want := range map[string]string{"resourceGroups": "resourceGroups", "ns": "Microsoft.MachineLearningServices", "workspaces": "workspaces"} {
		if got := r.PathValue(name); !strings.EqualFold(got, want) {
			return p, arm.ID{}, arm.Errorf(http.StatusNotFound, "NotFound", "%.80q found in the path where %q belongs.", got, want)
		}
	}
	id, err := arm.ParseID(fmt.Sprintf("/subscriptions/%s/resourceGroups/%s/providers/Microsoft.MachineLearningServices/workspaces/%s", r.PathValue("s"), r.PathValue("g"), r.PathValue("w")))
	if err != nil {
		return p, id, arm.Errorf(http.StatusBadRequest, "InvalidResourceId", "%v", err)
	}
	return p, id, nil
}

func (s *Server) authorize(r *http.Request, p resource.Principal, id arm.ID) error {
	err := s.cfg.Authorize(r.Context(), p, "read", id.Key())
	if ae := (*arm.Error)(nil); err == nil || errors.As(err, &ae) {
		return err
	}
	return arm.Errorf(http.StatusForbidden, "AuthorizationFailed", "%v", err)
}

// mayRead checks that the caller reads the workspace in the path.
func (s *Server) mayRead(r *http.Request) error {
	p, ws, err := s.caller(r)
	if err != nil {
		return err
	}
	return s.authorize(r, p, ws)
}

func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	var ae *arm.Error
	if !errors.As(err, &ae) {
		if r.Context().Err() != nil {
			return
		}
		s.cfg.Log.Error("serving run history", "path", r.URL.Path, "err", err)
		ae = arm.Errorf(http.StatusInternalServerError, "InternalServerError", "The run history could not be read; try again.")
	}
	if ae.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(ae.Status)
	_ = json.NewEncoder(w).Encode(arm.ErrorBody{Error: ae})
}

func writeJSON(w http.ResponseWriter, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding the answer: %w", err)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_, _ = w.Write(append(b, '\n'))
	return nil
}

// desiredLogKey reads the key from what the cluster was told of the job.
func (s *Server) desiredLogKey(ctx context.Context, cluster, jobID string) (string, error) {
	raw, err := s.cfg.Desired.Get(ctx, s.cfg.Store, cluster, link.PrefixJob+jobID)
	if err != nil {
		return "", err
	}
	var j link.Job
	if err := json.Unmarshal(raw, &j); err != nil {
		return "", fmt.Errorf("decoding desired job %s: %w", jobID, err)
	}
	key := j.Secret[commonruntime.SecretLogKey]
	if key == "" {
		return "", fmt.Errorf("job %s has no log key", jobID)
	}
	return key, nil
}
