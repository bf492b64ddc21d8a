// Package datastores sends who may read or write a datastore in S3 on to where its bytes are. A request for an object of S3, or for
// a list of objects, comes with the caller's bearer token and without body; the answer is a redirect to an address that the control
// plane has signed with the datastore's key:
//
//	pod ──GET /datastores/<account>/<datastore>/a/b, run's token──▶ control plane: may this run read a/b?
//	pod ◀──307, Location: https://store/bucket/prefix/a/b?X-Amz-Signature=…──┘
//	pod ──GET that──▶ S3
//
// So keys never leave the control plane, rights are as fine as for its own blobs, and no byte of data passes through it; it need not
// even reach the store.
package datastores

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/blobs"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types"
	"fairlead.dev/fairlead/internal/controlplane/types/account"
	"fairlead.dev/fairlead/internal/controlplane/types/dataaddress"
)

const (
	// signedFor is how long a signed address opens what it names. It bounds what a leaked one is worth, and how long somebody
	// who has lost a right still has it.
	signedFor = time.Hour
	// reusableFor is how long who was sent on may use the address again, so that it does not end on its way.
	reusableFor = 45 * time.Minute
)

// Config is what a Front needs; all fields but Log and Clock are required.
type Config struct {
	Store store.Reader
	// Authenticate tells who sent a request.
	Authenticate func(*http.Request) (resource.Principal, error)
	// Authorize decides as blobs.AuthorizeFunc does.
	Authorize func(ctx context.Context, p resource.Principal, at dataaddress.Address, write bool) error
	// Open decrypts a record's secret.
	Open  func([]byte) ([]byte, error)
	Clock func() time.Time
	Log   *slog.Logger
}

// Front serves dataaddress.Prefix.
type Front struct{ cfg Config }

// New makes a Front.
func New(cfg Config) *Front {
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Front{cfg: cfg}
}

// ServeHTTP answers with a redirect, or in the form in which S3 tells errors.
func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	to, err := f.locate(r)
	if err != nil {
		f.fail(w, r, err)
		return
	}
	w.Header().Set("Cache-Control", "private, max-age="+strconv.Itoa(int(reusableFor/time.Second)))
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusTemporaryRedirect)
}

func (f *Front) locate(r *http.Request) (string, error) {
	p, err := f.cfg.Authenticate(r)
	if err != nil {
		return "", &refusal{http.StatusUnauthorized, "InvalidToken", err.Error()}
	}
	at, err := dataaddress.ParsePath(r.URL.EscapedPath())
	if err != nil {
		return "", &refusal{http.StatusBadRequest, "InvalidURI", err.Error()}
	}
	op, err := parseOperation(r.Method, at.Path, r.URL.Query())
	if err != nil {
		return "", &refusal{http.StatusBadRequest, "NotImplemented", err.Error()}
	}
	object := at.Path
	at.Path = op.path
	if err := f.cfg.Authorize(r.Context(), p, at, op.write); err != nil {
		return "", err
	}
	s, err := f.datastore(r.Context(), at)
	if err != nil {
		return "", err
	}
	return signed(r.Context(), s, op, object, f.cfg.Clock(), signedFor)
}

// datastore reads what is known of a datastore, with its secret.
func (f *Front) datastore(ctx context.Context, at dataaddress.Address) (types.S3, error) {
	missing := &refusal{http.StatusNotFound, "NoSuchBucket", fmt.Sprintf("there is no datastore %s in S3 any more", at.Datastore)}
	workspace, err := account.Workspace(ctx, f.cfg.Store, at.Account)
	if err == nil {
		var rec store.Record
		if rec, err = f.cfg.Store.Get(ctx, workspace+"/datastores/"+at.Datastore); err == nil {
			var s types.S3
			if s, err = types.OpenS3(rec, f.cfg.Open); errors.Is(err, types.ErrNotS3) {
				return s, missing
			}
			return s, err
		}
	}
	if errors.Is(err, store.ErrNotFound) {
		return types.S3{}, missing
	}
	return types.S3{}, fmt.Errorf("reading datastore %s: %w", at.Datastore, err)
}

// refusal is an answer other than a redirect.
type refusal struct {
	status        int
	code, message string
}

func (r *refusal) Error() string { return r.message }

// answer is the one place where errors become answers. What could not be decided is 503, so that the caller tries again.
func answer(err error) *refusal {
	var no *refusal
	var denied *blobs.Refusal
	var ae *arm.Error
	switch {
	case errors.As(err, &no):
		return no
	case errors.As(err, &denied):
		return &refusal{http.StatusForbidden, "AccessDenied", denied.Reason}
	case errors.As(err, &ae) && (ae.Status == http.StatusForbidden || ae.Status == http.StatusNotFound):
		return &refusal{ae.Status, "AccessDenied", ae.Message}
	}
	return &refusal{http.StatusServiceUnavailable, "ServiceUnavailable", "The control plane cannot answer now; try again."}
}

func (f *Front) fail(w http.ResponseWriter, r *http.Request, err error) {
	no := answer(err)
	if no.status >= 500 {
		f.cfg.Log.Error("sending on to a datastore", "method", r.Method, "path", r.URL.Path, "err", err)
	}
	if no.status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	body, _ := xml.Marshal(struct {
		XMLName       xml.Name `xml:"Error"`
		Code, Message string
	}{Code: no.code, Message: strings.TrimSpace(no.message)})
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(no.status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(append([]byte(xml.Header), body...))
	}
}
