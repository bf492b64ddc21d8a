package engine

import (
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
)

const (
	// DefaultPage and MaxPage are the records of one page.
	DefaultPage = 100
	MaxPage     = 1000
	// scanLimit bounds the records one request looks at while a filter leaves most of them out.
	scanLimit = 5000
)

// ListRequest selects records of one or several types, in one collection (Parent) or anywhere below a key (Prefix).
type ListRequest struct {
	Types []*resource.Type
	// Parent is the Key of the collection's owner; Prefix a key below which everything is listed. One of them, or neither for all.
	Parent, Prefix string
	// Query are the request's query parameters for Type.Filter, by name and by lower-case name.
	Query map[string]string
	// Keep leaves out what the caller may not see; nil keeps all.
	Keep func(store.Record) bool
	// Top is 1..MaxPage; Token continues after the previous page.
	Top   int
	Token string
}

// Records is one page; Next is the token of the next one, "" on the last.
type Records struct {
	Records []store.Record
	Next    string
}

// List returns one page.
func (e *Engine) List(ctx context.Context, r store.Reader, req ListRequest) (Records, error) {
	from, after, err := readToken(req.Token, len(req.Types))
	if err != nil {
		return Records{}, err
	}
	var page Records
	scanned := 0
	for i := from; i < len(req.Types); i++ {
		for {
			if len(page.Records) == req.Top || scanned >= scanLimit {
				page.Next = token(i, after)
				return e.lastPage(ctx, r, req, page, i, after)
			}
			q := query(req, req.Types[i], after)
			recs, err := r.List(ctx, q)
			if err != nil {
				return Records{}, fmt.Errorf("listing %s: %w", q.Type, err)
			}
			for _, rec := range recs {
				if len(page.Records) == req.Top {
					break
				}
				after = rec.Seq
				scanned++
				if keep(req, req.Types[i], rec) {
					page.Records = append(page.Records, rec)
				}
			}
			if len(recs) < q.Limit && len(page.Records) < req.Top {
				break
			}
		}
		after = 0
	}
	return page, nil
}

// lastPage drops the token when nothing follows, so that clients do not fetch an empty page.
func (e *Engine) lastPage(ctx context.Context, r store.Reader, req ListRequest, page Records, i int, after int64) (Records, error) {
	for ; i < len(req.Types); i++ {
		q := query(req, req.Types[i], after)
		q.Limit = 1
		recs, err := r.List(ctx, q)
		if err != nil {
			return Records{}, fmt.Errorf("listing %s: %w", q.Type, err)
		}
		if len(recs) > 0 {
			return page, nil
		}
		after = 0
	}
	page.Next = ""
	return page, nil
}

func query(req ListRequest, t *resource.Type, after int64) store.Query {
	q := store.Query{Type: t.FullType(), Parent: req.Parent, Prefix: req.Prefix, AnyParent: req.Parent == "", Descending: newestFirst(t, req.Query), After: after, Limit: req.Top}
	if t.Filter != nil || req.Keep != nil {
		q.Limit = max(q.Limit, DefaultPage)
	}
	if t.Archivable {
		switch strings.ToLower(req.Query["listviewtype"]) {
		case "all":
			q.IncludeArchived = true
		case "archivedonly":
			q.OnlyArchived = true
		}
	}
	return q
}

// newestFirst is the order of a list: as asked for, in the one form of $orderBy and the other of orderBy, or else the type's own. Lists have
// no other order than by time of creation; what asks for one is left aside.
func newestFirst(t *resource.Type, query map[string]string) bool {
	asked := strings.ToLower(strings.ReplaceAll(cmp.Or(query["$orderby"], query["orderby"]), " ", ""))
	switch strings.TrimPrefix(asked, "createdtime") {
	case asked: // of something else, or nothing
		return t.NewestFirst
	case "desc":
		return true
	}
	return false
}

func keep(req ListRequest, t *resource.Type, rec store.Record) bool {
	if t.Filter != nil && !t.Filter(req.Query, rec) {
		return false
	}
	return req.Keep == nil || req.Keep(rec)
}

func token(typ int, after int64) string {
	return base64.RawURLEncoding.EncodeToString([]byte(strconv.Itoa(typ) + "." + strconv.FormatInt(after, 10)))
}

func readToken(s string, types int) (typ int, after int64, err error) {
	if s == "" {
		return 0, 0, nil
	}
	bad := arm.Errorf(http.StatusBadRequest, "InvalidSkipToken", "The continuation token '%s' is not one that this server made. Take it from nextLink as it is, or leave it out to begin at the first page.", s)
	raw, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return 0, 0, bad
	}
	a, b, _ := strings.Cut(string(raw), ".")
	if typ, err = strconv.Atoi(a); err != nil || typ < 0 || typ >= types {
		return 0, 0, bad
	}
	if after, err = strconv.ParseInt(b, 10, 64); err != nil || after < 0 {
		return 0, 0, bad
	}
	return typ, after, nil
}
