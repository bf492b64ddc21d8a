package front

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/router/table"
)

// A path is taken apart, and what is left of it reaches the pod as it was written.
func FuzzSplit(f *testing.F) {
	for _, path := range []string{"/api/v1/endpoint/one/score", "/api/v1/endpoint/one", "/api/v1/endpoint//score", "/api/v1/endpoint/a%2Fb/c%20d", "/", "//api/v1/endpoint/x/y"} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		r := request{path: path, header: http.Header{}}
		name, rest, ok := split(&r)
		if !ok {
			return
		}
		if name == "" || strings.Contains(name, "/") || rest[0] != '/' || !strings.HasPrefix(path+"/", pathPrefix+name+rest) {
			t.Errorf("%q is %q and %q", path, name, rest)
		}
		written := writable(rest)
		if strings.ContainsAny(written, " \r\n\x00?#") {
			t.Errorf("%q would be written as %q", rest, written)
		}
		before, err := url.PathUnescape(rest)
		if after, _ := url.PathUnescape(written); err == nil && after != before {
			t.Errorf("%q is written as %q, which is another path", rest, written)
		}
	})
}

// Whatever a caller sends, its line in the log is one line of JSON, and its id in an answer a part of a line.
func FuzzLine(f *testing.F) {
	f.Add("id", "/path\"\\\x00\xff", "1.2.3.4:5")
	f.Fuzz(func(t *testing.T, id, path, remote string) {
		c := &call{}
		c.begin(request{method: "POST", path: path, remote: remote, header: http.Header{HeaderClientRequestID: {id}}})
		if strings.IndexFunc(c.clientID, notInID) >= 0 || len(c.clientID) > maxClientID {
			t.Errorf("id %q", c.clientID)
		}
		c.deployment = &table.Deployment{Name: "blue"}
		line := appendLine(nil, c, time.Second)
		if !json.Valid(line) || bytes.Count(line, []byte("\n")) != 1 {
			t.Errorf("line %q", line)
		}
	})
}
