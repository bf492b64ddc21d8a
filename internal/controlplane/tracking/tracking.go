// Package tracking serves MLflow's tracking, artifact and model registry REST APIs, for each workspace below
//
//	/mlflow/v1.0/subscriptions/{s}/resourceGroups/{g}/providers/Microsoft.MachineLearningServices/workspaces/{w}
//
// which is what MLFLOW_TRACKING_URI names. A job is a run whose id is the job's name; registered models are the workspace's models.
package tracking

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/blobs"
	"fairlead.dev/fairlead/internal/controlplane/engine"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types"
)

// PathPrefix is what Handler serves.
const PathPrefix = "/mlflow/v1.0/"

// The APIs below a workspace.
const (
	apiPrefix      = "api/2.0/mlflow/"
	artifactPrefix = "api/2.0/mlflow-artifacts/artifacts"
)

// Blobs is where artifacts are.
type Blobs interface {
	List(ctx context.Context, account, container, prefix string) ([]blobs.Item, error)
	NewReader(ctx context.Context, account, container, name string, offset int64) (io.ReadCloser, int64, error)
	Put(ctx context.Context, account, container, name, contentType string, body io.Reader) error
	Delete(ctx context.Context, account, container, name string) error
}

// Config is what a Server needs. All fields are required but Clock, NewID and Log.
type Config struct {
	Engine *engine.Engine
	Blobs  Blobs
	// Authenticate tells who asks, Authorize whether they may "read" or "write" a scope.
	Authenticate func(*http.Request) (resource.Principal, error)
	Authorize    func(ctx context.Context, p resource.Principal, permission, scope string) error
	// Run is the job that a run's token is of, its account and its folder of artifacts; to write it must not have ended long ago.
	Run   func(ctx context.Context, p resource.Principal, write bool) (name, account, folder string, err error)
	Clock func() time.Time
	NewID func() string
	Log   *slog.Logger
}

// Server serves the APIs.
type Server struct {
	cfg       Config
	endpoints map[string]endpoint
	// reads has room for those that read a history.
	reads chan struct{}
}

// New makes a Server.
func New(cfg Config) *Server {
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.NewID == nil {
		cfg.NewID = func() string { return strings.ReplaceAll(uuid.NewString(), "-", "") }
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Server{cfg: cfg, endpoints: endpoints(), reads: make(chan struct{}, maxReads)}
}

// endpoint is one operation of the APIs.
type endpoint struct {
	need right
	run  func(c *call) (any, error)
}

// right is what an operation needs.
type right int

const (
	read right = iota
	// writeOwn is writing that a run's token may do to its own run and those that it made; the operation calls own.
	writeOwn
	// write is writing that needs the right to write the workspace.
	write
)

// call is one request.
type call struct {
	*Server
	w         http.ResponseWriter
	r         *http.Request
	ctx       context.Context
	principal resource.Principal
	// workspace is the workspace, whose GUID is workspaceID; account is what tracking knows it by.
	workspace            arm.ID
	workspaceID, account string
	// made is when the workspace was made, in milliseconds since 1970.
	made int64
	// job and folder are of the run whose token it is; "" for anybody else.
	job, folder string
	// vars are what the path holds beside the operation.
	vars map[string]string
	body []byte
}

// maxBody bounds a request in bytes; artifacts have no bound.
const maxBody = 4 << 20

// Handler serves PathPrefix.
func (s *Server) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out, err := s.serve(w, r)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		if out == nil {
			return
		}
		b, err := json.Marshal(out)
		if err != nil {
			s.fail(w, r, fmt.Errorf("encoding the answer: %w", err))
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(b)
	})
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) (any, error) {
	c := &call{Server: s, w: w, r: r, ctx: r.Context()}
	rest, err := c.parse()
	if err != nil {
		return nil, err
	}
	if c.principal, err = s.cfg.Authenticate(r); err != nil {
		return nil, err
	}
	e, err := s.find(c, rest)
	if err != nil {
		return nil, err
	}
	if err := c.admit(e.need); err != nil {
		return nil, err
	}
	if !strings.HasPrefix(rest, artifactPrefix) {
		if c.body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody)); err != nil {
			return nil, invalid("The body could not be read, or is larger than %d bytes: %v.", maxBody, err)
		}
	}
	return e.run(c)
}

// parse takes the workspace out of the path.
func (c *call) parse() (rest string, err error) {
	parts := strings.SplitN(strings.TrimPrefix(c.r.URL.Path, PathPrefix), "/", 9)
	if len(parts) < 9 {
		return "", errorf(http.StatusNotFound, codeEndpoint, "There is no operation at %.200q.", c.r.URL.Path)
	}
	c.workspace, err = arm.ParseID("/" + strings.Join(parts[:8], "/"))
	if err != nil || !strings.EqualFold(c.workspace.Type(), "Microsoft.MachineLearningServices/workspaces") {
		return "", errorf(http.StatusNotFound, codeEndpoint, "%.200q is not the id of a workspace.", "/"+strings.Join(parts[:8], "/"))
	}
	return path.Clean("/" + parts[8])[1:], nil
}

// find is the operation that a path names.
func (s *Server) find(c *call, rest string) (endpoint, error) {
	if name, ok := strings.CutPrefix(rest, artifactPrefix); ok && (name == "" || name[0] == '/') {
		c.vars = map[string]string{"path": strings.TrimPrefix(name, "/")}
		return s.endpoints[c.r.Method+" artifacts"], c.known(s.endpoints, c.r.Method+" artifacts")
	}
	name, ok := strings.CutPrefix(rest, apiPrefix)
	if !ok {
		return endpoint{}, errorf(http.StatusNotFound, codeEndpoint, "There is no operation at %.200q.", rest)
	}
	if model, ok := strings.CutPrefix(name, "logged-models/"); ok && model != "search" {
		id, below, _ := strings.Cut(model, "/")
		below, tag, _ := strings.Cut(below, "/")
		c.vars = map[string]string{"model_id": id, "tag_key": tag}
		name = strings.TrimSuffix("logged-models/{id}/"+below, "/")
		if tag != "" {
			name += "/{key}"
		}
	}
	return s.endpoints[c.r.Method+" "+name], c.known(s.endpoints, c.r.Method+" "+name)
}

func (c *call) known(all map[string]endpoint, name string) error {
	if _, ok := all[name]; !ok {
		return errorf(http.StatusNotFound, codeEndpoint, "There is no operation %.200s here.", name)
	}
	return nil
}

// admit checks the caller's right and that there is the workspace.
func (c *call) admit(need right) (err error) {
	permission := map[right]string{read: "read", write: "write", writeOwn: "write"}[need]
	if c.principal.Kind == "Run" {
		var account string
		if c.job, account, c.folder, err = c.cfg.Run(c.ctx, c.principal, need != read); err != nil {
			return err
		}
		if !strings.HasPrefix(c.principal.Scope, c.workspace.Key()+"/") {
			return errorf(http.StatusForbidden, codeDenied, "The token is of run %s, which is in another workspace.", c.job)
		}
		if need == write {
			return errorf(http.StatusForbidden, codeDenied, "A run's token writes its own run and those that it starts only. Do this as a user, with the right to write workspace %s.", c.workspace.Name())
		}
		c.account = account
	} else if err := c.cfg.Authorize(c.ctx, c.principal, permission, c.workspace.Key()); err != nil {
		return err
	}
	rec, err := c.cfg.Engine.Store.Get(c.ctx, c.workspace.Key())
	if errors.Is(err, store.ErrNotFound) {
		return errorf(http.StatusNotFound, codeAbsent, "There is no workspace %s; see fairlead ml workspace list.", c.workspace)
	}
	if err != nil {
		return err
	}
	own := types.StorageAccountOf(rec)
	if c.account != "" && own != c.account {
		return errorf(http.StatusForbidden, codeDenied, "The token is of a run in an earlier workspace of this name.")
	}
	c.account = own
	var body struct{ Properties struct{ WorkspaceID string } }
	if err := json.Unmarshal(rec.Body, &body); err != nil {
		return fmt.Errorf("decoding workspace %s: %w", rec.Key, err)
	}
	c.workspaceID, c.made = body.Properties.WorkspaceID, rec.CreatedAt.UnixMilli()
	return nil
}

// own refuses to let a run's token write what is not its own.
func (c *call) own(what, id, job string) error {
	if c.job != "" && c.job != job {
		return errorf(http.StatusForbidden, codeDenied, "Run %s writes its own run and those that it starts only, not %s %s.", c.job, what, id)
	}
	return nil
}

func (c *call) store() store.Store { return c.cfg.Engine.Store }

func (c *call) now() int64 { return c.cfg.Clock().UnixMilli() }

// update runs fn in a transaction.
func (c *call) update(fn func(tx store.Tx) error) error { return c.store().Update(c.ctx, fn) }
