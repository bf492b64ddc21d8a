// Package sync serves the two last-value maps of clusters to their agents and extensions: a stream of desired values and
// a place to post observed ones. A token reaches the maps of its own cluster only.
//
//	GET desired  ─▶ [reset put… bookmark] then put/delete as they happen, a bookmark every 10 s
//	POST observed ─▶ one transaction
//
// Beside them it takes what clusters measure of their jobs, and lines of their logs, and answers how a claim's datastore is reached.
package sync

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"time"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/desired"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/link"
)

// bookmarkEvery is the longest silence of a desired stream.
const bookmarkEvery = 10 * time.Second

// streamAge is the default of Config.StreamAge: clusters come back over another connection, so that a load balancer gives a server that
// joined others its share of them.
const streamAge = 5 * time.Minute

// maxValues bounds the values of one observed request.
const maxValues = 5000

// maxSnapshots bounds how many desired maps are in memory at once.
const maxSnapshots = 32

// Config is what New needs; Clock and Log may be nil.
type Config struct {
	Store store.Store
	// Desired opens what clusters are told.
	Desired      *desired.Map
	Authenticate func(*http.Request) (resource.Principal, error)
	// Logs keeps lines; nil means that none are taken.
	Logs LogTaker
	// Folder finds the datastore of a claim, for the cluster with a Key; nil means that there are no claims.
	Folder func(ctx context.Context, cluster string, q link.FolderRequest) (link.Folder, error)
	// StreamAge is how old a stream becomes at least, and half of how old at most; 0 is 5 min.
	StreamAge time.Duration
	Clock     func() time.Time
	Log       *slog.Logger
}

type server struct {
	Config
	hub   *hub
	reads chan struct{} // one per map being read and sent
}

// New makes the handler of link.DesiredPath, link.ObservedPath, link.MetricsPath, link.LogsPath and link.FolderPath.
func New(cfg Config) http.Handler {
	if cfg.StreamAge == 0 {
		cfg.StreamAge = streamAge
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &server{Config: cfg, hub: newHub(cfg.Store, cfg.Log), reads: make(chan struct{}, maxSnapshots)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+link.DesiredPath, s.handle(s.desired))
	mux.HandleFunc("POST "+link.ObservedPath, s.handle(s.observed))
	mux.HandleFunc("GET "+link.MetricsPath, s.handle(s.metricsState))
	mux.HandleFunc("POST "+link.MetricsPath, s.handle(s.metrics))
	mux.HandleFunc("POST "+link.LogsPath, s.handle(s.logs))
	mux.HandleFunc("POST "+link.FolderPath, s.handle(s.folder))
	return mux
}

// handle authenticates, and turns an error into its answer.
func (s *server) handle(h func(http.ResponseWriter, *http.Request, resource.Principal) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		p, err := s.admit(r)
		if err == nil {
			ctx, cancel := until(r.Context(), p.Expires)
			defer cancel()
			r = r.WithContext(ctx)
			err = h(w, r, p)
		}
		if err == nil {
			return
		}
		var ae *arm.Error
		if !errors.As(err, &ae) {
			if r.Context().Err() == nil {
				s.Log.Error("serving the link", "path", r.URL.Path, "cluster", p.Scope, "err", err)
			}
			ae = arm.Errorf(http.StatusInternalServerError, "InternalServerError", "The link request could not be served; try again.")
		}
		if ae.Status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", "Bearer")
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(ae.Status)
		_ = json.NewEncoder(w).Encode(arm.ErrorBody{Error: ae})
	}
}

// until ends a request with its token.
func until(ctx context.Context, expires time.Time) (context.Context, context.CancelFunc) {
	if expires.IsZero() {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, expires)
}

// admit lets a cluster's agent and extension pass, as long as the cluster that their token was issued for exists.
func (s *server) admit(r *http.Request) (resource.Principal, error) {
	p, err := s.Authenticate(r)
	if err != nil {
		var ae *arm.Error
		if errors.As(err, &ae) {
			return p, err
		}
		return p, arm.Errorf(http.StatusUnauthorized, "InvalidAuthenticationToken", "%v", err)
	}
	if (p.Kind != "Agent" && p.Kind != "Extension") || p.Scope == "" {
		return p, arm.Errorf(http.StatusForbidden, "AuthorizationFailed", "The link is for the agent and the extensions of a cluster; the token is of kind %q.", p.Kind)
	}
	rec, err := s.Store.Get(r.Context(), p.Scope)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return p, errNoCluster(p.Scope)
	case err != nil:
		return p, err
	case rec.Seq != p.ScopeSeq:
		return p, arm.Errorf(http.StatusUnauthorized, "InvalidAuthenticationToken", "The token was issued for an earlier cluster with the id %q; ask for a new token.", p.Scope)
	}
	return p, nil
}

func errNoCluster(cluster string) error {
	return arm.Errorf(http.StatusNotFound, "ResourceNotFound", "The cluster %q is not connected any more; connect it again with connectedk8s connect.", cluster)
}

var (
	extensionKey = regexp.MustCompile(`^extension/[a-z0-9][-.a-z0-9]{0,127}$`)
	jobKey       = regexp.MustCompile(`^job/[0-9a-f]{32}$`)
	servingKey   = regexp.MustCompile(`^(endpoint|deployment/[a-z][a-z0-9-]{2,31})/[a-z][a-z0-9-]{2,31}$`)
)

// mayObserve says whether a principal may post a key, and if not, why.
func mayObserve(p resource.Principal, key string) error {
	agent := p.Kind == "Agent"
	switch {
	case key == link.KeyNodes, key == link.KeyRouter, jobKey.MatchString(key), servingKey.MatchString(key):
		return nil
	case key == link.KeyCluster, extensionKey.MatchString(key):
		if agent {
			return nil
		}
		return arm.Errorf(http.StatusForbidden, "AuthorizationFailed", "An extension posts %q, %q, %q, %q and %q keys only, not %.150q.",
			link.KeyNodes, link.KeyRouter, link.PrefixJob, link.PrefixEndpoint, link.PrefixDeployment, key)
	}
	return arm.Invalid("values", "%.150q is not a key of the observed map; want %s, %s, %s, %s<name>, %s<32 hex digits>, %s<name> or %s<endpoint>/<name>.",
		key, link.KeyCluster, link.KeyNodes, link.KeyRouter, link.PrefixExtension, link.PrefixJob, link.PrefixEndpoint, link.PrefixDeployment)
}

func (s *server) observed(w http.ResponseWriter, r *http.Request, p resource.Principal) error {
	req, err := readObserved(w, r)
	if err != nil {
		return err
	}
	for i, v := range req.Values {
		if err := mayObserve(p, v.Key); err != nil {
			return err
		}
		if len(v.Value) > link.MaxValue {
			return arm.Errorf(http.StatusRequestEntityTooLarge, "ValueTooLarge", "The value of %q is %d bytes; at most %d are allowed.", v.Key, len(v.Value), link.MaxValue)
		}
		if t := bytes.TrimSpace(v.Value); len(t) == 0 || t[0] != '{' {
			return arm.Invalid(fmt.Sprintf("values[%d].value", i), "The value of %q must be a JSON object.", v.Key)
		}
	}
	err = s.Store.Update(r.Context(), func(tx store.Tx) error {
		now := s.Clock().UTC().Truncate(time.Microsecond)
		for _, v := range req.Values {
			if err := tx.PutObserved(r.Context(), p.Scope, v.Key, v.Value, now); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("recording observed values: %w", err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// readObserved reads the values of a request.
func readObserved(w http.ResponseWriter, r *http.Request) (req link.ObservedRequest, err error) {
	data, err := readBody(w, r)
	if err != nil {
		return req, err
	}
	if err := json.Unmarshal(data, &req); err != nil {
		return req, arm.Invalid("", "The body is not {\"values\":[{\"key\":…,\"value\":…}]}: %v.", err)
	}
	if len(req.Values) > maxValues {
		return req, arm.Invalid("values", "%d values; post at most %d at once.", len(req.Values), maxValues)
	}
	return req, nil
}

// readBody reads a body of at most link.MaxBody bytes, before and after decompression.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	var body io.Reader = http.MaxBytesReader(w, r.Body, link.MaxBody)
	if enc := r.Header.Get("Content-Encoding"); enc == "gzip" {
		unzipped, err := gzip.NewReader(body)
		if err != nil {
			return nil, arm.Invalid("", "The body is not gzip as its Content-Encoding says: %v.", err)
		}
		body = unzipped
	} else if enc != "" {
		return nil, arm.Errorf(http.StatusUnsupportedMediaType, "UnsupportedEncoding", "Content-Encoding %.40q is not gzip.", enc)
	}
	data, err := io.ReadAll(io.LimitReader(body, link.MaxBody+1))
	var mbe *http.MaxBytesError
	if errors.As(err, &mbe) || len(data) > link.MaxBody {
		return nil, arm.Errorf(http.StatusRequestEntityTooLarge, "RequestTooLarge", "The body is larger than %d bytes; post fewer values at once.", link.MaxBody)
	}
	if err != nil {
		return nil, arm.Invalid("", "The body could not be read: %v.", err)
	}
	return data, nil
}

// hidden says which keys of the desired map a principal does not see.
func hidden(p resource.Principal, key string) bool {
	return p.Kind != "Agent" && strings.HasPrefix(key, link.PrefixExtension)
}

func (s *server) slot(ctx context.Context) (release func(), err error) {
	select {
	case s.reads <- struct{}{}:
		return func() { <-s.reads }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
