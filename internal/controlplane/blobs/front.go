package blobs

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/uuid"
	"gocloud.dev/blob"

	"fairlead.dev/fairlead/internal/controlplane/resource"
)

// PathPrefix is where the front is mounted on the control plane's listener.
const PathPrefix = "/blob/"

// protocolVersion is sent back when a request names none.
const protocolVersion = "2021-12-02"

// AuthorizeFunc decides whether a principal may read or write a name ("" or a prefix for lists) in a container. The text of
// a refusal (a *Refusal, or an *arm.Error with status 403 or 404) reaches the caller; an error that wraps what went wrong means
// that it cannot be decided now.
type AuthorizeFunc func(ctx context.Context, p resource.Principal, account, container, name string, write bool) error

// Config is what a Front needs; all fields but StorageSuffix, TenantID, Lock, Log and Clock are required.
type Config struct {
	Bucket *blob.Bucket
	// PublicURL is the address clients use, without path.
	PublicURL string
	// StorageSuffix is below what host accounts are hosts too, and TenantID what user delegation keys say; both may be empty.
	StorageSuffix, TenantID string
	// SASKey signs shared access signatures; at least 32 random bytes.
	SASKey []byte
	// Verify tells who sent a request with a bearer token.
	Verify    func(*http.Request) (resource.Principal, error)
	Authorize AuthorizeFunc
	// Lock takes a lock with a name among all processes that use the bucket, and gives what tells whether it is still held and what
	// frees it; nil when this is the only one.
	Lock  func(ctx context.Context, name string) (held func() error, unlock func(), err error)
	Clock func() time.Time
	Log   *slog.Logger
}

// Front serves blobs. It is safe for concurrent use.
type Front struct {
	cfg   Config
	https bool
	// folder is a bucket that is one of this machine.
	folder bool
	// s3 is one whose objects have times of whole seconds, and ETags that may be MD5s or not.
	s3 bool
	// delegation is what user delegation keys are made with, which no signature of ours is.
	delegation []byte
	locks      keyLocks
	tails      tailCache
	dirs       dirCache
	sums       sumCache
	// rewrites has room for those that write a blob anew under its lock, which may take long: others need locks meanwhile.
	rewrites chan struct{}
	sync     func(name string) error // brings a file or folder to the disk
	// rename and link give a file its name.
	rename, link func(from, to string) error
}

// New makes a Front.
func New(cfg Config) *Front {
	cfg.PublicURL = strings.TrimSuffix(cfg.PublicURL, "/")
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	f := &Front{cfg: cfg, delegation: keyedSum(cfg.SASKey, "fairlead user delegation keys"), rewrites: make(chan struct{}, maxRewrites), sync: syncPath, rename: os.Rename, link: os.Link, https: strings.HasPrefix(cfg.PublicURL, "https://")}
	if cfg.Bucket != nil {
		var info os.FileInfo
		f.folder = cfg.Bucket.As(&info)
		var client *s3.Client
		f.s3 = cfg.Bucket.As(&client)
	}
	return f
}

// request is one request on its way through the front.
type request struct {
	*http.Request
	w     http.ResponseWriter
	q     url.Values
	name  blobName
	perms string // of a signature
	sas   bool
}

// Handler serves everything below PathPrefix.
func (f *Front) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("x-ms-request-id", uuid.NewString())
		h.Set("x-ms-version", protocolVersion)
		if v := r.Header.Get("x-ms-version"); v != "" && len(v) <= 16 {
			h.Set("x-ms-version", v)
		}
		if id := r.Header.Get("x-ms-client-request-id"); id != "" && len(id) <= 1024 {
			h.Set("x-ms-client-request-id", id)
		}
		if err := f.serve(w, r); err != nil {
			f.fail(w, r, err)
		}
	})
}

func (f *Front) serve(w http.ResponseWriter, r *http.Request) error {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return errorf(http.StatusBadRequest, "InvalidQueryParameterValue", "The query is not correctly encoded: %v.", err)
	}
	if q.Get("restype") == "service" {
		return f.serveAccount(&request{Request: r, w: w, q: q})
	}
	path, folder := r.URL.EscapedPath(), false
	if r.Method == http.MethodGet || r.Method == http.MethodHead { // some clients ask whether there is a blob "folder/"
		path, folder = strings.CutSuffix(path, "/")
	}
	name, err := parsePath(path)
	if err != nil {
		return err
	}
	req := &request{Request: r, w: w, q: q, name: name}
	op, ok := f.route(req)
	if !ok {
		return errorf(http.StatusBadRequest, "UnsupportedOperation", "%s with restype=%q comp=%q is not an operation of this service on %s.",
			r.Method, q.Get("restype"), q.Get("comp"), name)
	}
	if err := f.admit(req, op); err != nil {
		return err
	}
	if folder && name.name != "" {
		return errBlobNotFound(name)
	}
	return op.run(req)
}

// operation is one row of the protocol: any of these SAS permissions lets it pass.
type operation struct {
	perms string
	write bool
	run   func(*request) error
}

func (f *Front) route(r *request) (operation, bool) {
	if r.name.name == "" {
		return f.routeContainer(r)
	}
	switch r.Method + " " + r.q.Get("comp") {
	case "GET ", "HEAD ":
		return operation{"r", false, f.getBlob}, true
	case "GET metadata", "HEAD metadata":
		return operation{"r", false, f.getMetadata}, true
	case "GET blocklist":
		return operation{"r", false, f.getBlockList}, true
	case "PUT ":
		return operation{"wc", true, f.putBlob}, true
	case "PUT block":
		return operation{"wc", true, f.putBlock}, true
	case "PUT blocklist":
		return operation{"wc", true, f.putBlockList}, true
	case "PUT appendblock":
		return operation{"aw", true, f.appendBlock}, true
	case "PUT metadata":
		return operation{"w", true, f.setMetadata}, true
	case "PUT properties":
		return operation{"w", true, f.setProperties}, true
	case "DELETE ":
		return operation{"d", true, f.deleteBlob}, true
	}
	return operation{}, false
}

func (f *Front) routeContainer(r *request) (operation, bool) {
	if r.q.Get("restype") != "container" {
		return operation{}, false
	}
	switch r.Method + " " + r.q.Get("comp") {
	case "GET list":
		return operation{"l", false, f.listBlobs}, true
	case "GET ", "HEAD ", "GET metadata", "HEAD metadata":
		return operation{"racwdl", false, f.getContainer}, true
	case "PUT ":
		return operation{"wc", true, f.createContainer}, true
	}
	return operation{}, false
}

// admit checks the request's signature or token.
func (f *Front) admit(r *request, op operation) error {
	n := r.name
	if n.name == "" { // a list of runs/one is one of runs, too: it has runs/onetwo
		prefix := r.q.Get("prefix")
		n.name = prefix[:max(0, strings.LastIndexByte(prefix, '/'))]
	}
	if r.q.Has("sig") {
		if r.name.name == "" && r.q.Get("sr") == "b" {
			return sasRefused("The shared access signature is for one blob (sr=b), not for its container.")
		}
		perms, err := f.checkSAS(r.q, n, r.TLS != nil)
		if err != nil {
			return err
		}
		if !strings.ContainsAny(perms, op.perms) {
			return errorf(http.StatusForbidden, "AuthorizationPermissionMismatch",
				"This request is not authorized to perform this operation using this permission: it needs one of %q, the signature grants %q.", op.perms, perms)
		}
		r.sas, r.perms = true, perms
		if signer := r.q.Get("skoid"); signer != "" { // grants no more than who signed it may do now
			return f.authorize(r, resource.Principal{ID: signer, Kind: "User"}, n, op.write && r.name.name != "")
		}
		return nil
	}
	p, err := f.principal(r)
	if err != nil {
		return err
	}
	if r.name.name == "" && op.write { // who may read a container may "create" it, since that changes nothing
		return f.authorize(r, p, r.name, false)
	}
	if r.name.name == "" {
		n.name = r.q.Get("prefix")
	}
	return f.authorize(r, p, n, op.write)
}

// principal is who sent a request with a token.
func (f *Front) principal(r *request) (p resource.Principal, err error) {
	realm := `Bearer realm="` + f.cfg.PublicURL + `"`
	if !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ") {
		r.w.Header().Set("WWW-Authenticate", realm)
		return p, errorf(http.StatusUnauthorized, "NoAuthenticationInformation",
			"Server failed to authenticate the request. Send a shared access signature in the query or a bearer token in the Authorization header; there are no account keys.")
	}
	if p, err = f.cfg.Verify(r.Request); err != nil {
		r.w.Header().Set("WWW-Authenticate", realm+`, error="invalid_token"`)
		return p, errorf(http.StatusUnauthorized, "InvalidAuthenticationInfo", "Server failed to authenticate the request. %v.", err)
	}
	return p, nil
}

// authorize asks whether the principal may. That nobody can tell at the moment is no refusal: callers give up on those.
func (f *Front) authorize(r *request, p resource.Principal, n blobName, write bool) error {
	err := f.cfg.Authorize(r.Context(), p, n.account, n.container, n.name, write)
	if err == nil {
		return nil
	}
	if refused(err) {
		return errorf(http.StatusForbidden, "AuthorizationPermissionMismatch",
			"This request is not authorized to perform this operation using this permission. %v.", err)
	}
	return errBusy(fmt.Errorf("authorizing request: %w", err))
}

// mayOverwrite reports whether a signature lets an existing blob be replaced; "c" alone only creates.
func (r *request) mayOverwrite() bool { return !r.sas || strings.Contains(r.perms, "w") }

// URL is the address of a blob, or of a container when name is "".
func (f *Front) URL(account, container, name string) string {
	return f.cfg.PublicURL + blobName{account, container, name}.path()
}
