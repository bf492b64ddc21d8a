package datastores

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/controlplane/types"
)

func TestSigned(t *testing.T) {
	at := time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC)
	s := types.S3{Endpoint: "https://s3.example:9000", Region: "eu-west-1", BucketName: "b", Prefix: "p"}
	key := s
	key.AccessKeyID, key.SecretAccessKey = "AKID", "SECRET"
	for name, c := range map[string]struct {
		s       types.S3
		op      operation
		path    string
		want    string
		notWant string
	}{
		"open to all":   {s, operation{method: http.MethodGet}, "a b/c+d", "https://s3.example:9000/b/p/a%20b/c%2Bd", "X-Amz"},
		"list":          {s, operation{method: http.MethodGet, query: url.Values{"list-type": {"2"}, "prefix": {"x y/"}}}, "", "https://s3.example:9000/b?list-type=2&prefix=p%2Fx%20y%2F", "X-Amz"},
		"with a key":    {key, operation{method: http.MethodPut}, "a", "https://s3.example:9000/b/p/a?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKID%2F20130524%2Feu-west-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=3600&X-Amz-SignedHeaders=host&", "SECRET"},
		"with no query": {key, operation{method: http.MethodPost, query: url.Values{"uploads": {""}}}, "a", "&uploads=&X-Amz-Signature=", "SECRET"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := signed(t.Context(), c.s, c.op, c.path, at, time.Hour)
			if err != nil || !strings.Contains(got, c.want) || strings.Contains(got, c.notWant) {
				t.Errorf("%s %v", got, err)
			}
		})
	}
}

func FuzzParseOperation(f *testing.F) {
	f.Add("GET", "", "list-type=2&prefix=a/")
	f.Add("PUT", "a/b", "partNumber=1&uploadId=x")
	f.Add("DELETE", "a", "")
	f.Fuzz(func(t *testing.T, method, path, query string) {
		q, err := url.ParseQuery(query)
		if err != nil {
			t.Skip()
		}
		op, err := parseOperation(method, path, q)
		if err != nil {
			return
		}
		if reads := method == http.MethodGet || method == http.MethodHead; op.write == reads {
			t.Errorf("%s %q %q is taken as write %t", method, path, query, op.write)
		}
		if path == "" && q.Get("prefix") != "" && q.Get("prefix") != op.path+"/" || path != "" && op.path != path {
			t.Errorf("%s %q %q asks for a right to %q", method, path, query, op.path)
		}
	})
}
