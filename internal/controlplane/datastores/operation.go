package datastores

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"fairlead.dev/fairlead/internal/controlplane/types/dataaddress"
)

// operation is what a request would do. path is what a right to it is needed for.
type operation struct {
	method string
	path   string
	write  bool
	query  url.Values
}

// operations are the requests of S3 that somebody is sent on with: the method, whether they name an object, and their query's keys,
// of which those in required must be there.
var operations = []struct {
	method             string
	object, write      bool
	required, optional []string
}{
	{method: http.MethodGet, object: true},
	{method: http.MethodHead, object: true},
	{method: http.MethodGet, required: []string{"list-type", "prefix"}, optional: []string{"continuation-token", "delimiter", "encoding-type", "max-keys", "start-after"}},
	{method: http.MethodPut, object: true, write: true},
	{method: http.MethodPut, object: true, write: true, required: []string{"partNumber", "uploadId"}},
	{method: http.MethodPost, object: true, write: true, required: []string{"uploads"}},
	{method: http.MethodPost, object: true, write: true, required: []string{"uploadId"}},
	{method: http.MethodDelete, object: true, write: true},
	{method: http.MethodDelete, object: true, write: true, required: []string{"uploadId"}},
}

// parseOperation reads what a request wants of a path in a datastore.
func parseOperation(method, path string, q url.Values) (operation, error) {
	for _, o := range operations {
		if o.method != method || o.object != (path != "") || !hasKeys(q, o.required, o.optional) {
			continue
		}
		op := operation{method: method, path: path, write: o.write, query: q}
		if o.object {
			return op, nil
		}
		prefix := q.Get("prefix")
		if prefix != "" && !strings.HasSuffix(prefix, "/") {
			return operation{}, fmt.Errorf("prefix is %.200q; it must be empty or end with a slash", prefix)
		}
		op.path = strings.TrimSuffix(prefix, "/")
		return op, dataaddress.CheckPath(op.path)
	}
	return operation{}, fmt.Errorf("%s with query %.200q is not one of the operations on a datastore: reading, listing (list-type=2), writing and deleting objects", method, q.Encode())
}

// hasKeys reports whether a query has each key once, all of required, and no other than those and optional.
func hasKeys(q url.Values, required, optional []string) bool {
	for _, k := range required {
		if !q.Has(k) {
			return false
		}
	}
	for k, v := range q {
		if len(v) != 1 || !slices.Contains(required, k) && !slices.Contains(optional, k) {
			return false
		}
	}
	return true
}
