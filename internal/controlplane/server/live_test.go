package server

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/controlplane/resource"
)

// TestLiveLogs: lines come at once; a source that breaks breaks the connection, a resource that is deleted ends it well.
func TestLiveLogs(t *testing.T) {
	e := newEnv(t)
	box := group + "/providers/Fairlead.Test/boxes/b1"
	e.must(http.StatusCreated, http.MethodPut, box, `{"location":"local","properties":{}}`)
	open := func(then string) *http.Response {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, e.url+box+"/logs?"+ver+"&then="+then, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer reader")
		res, err := e.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { res.Body.Close() })
		return res
	}
	if got, err := io.ReadAll(open("breaks").Body); string(got) != "{}\n" || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("of a source that breaks: %q, %v", got, err)
	}
	if res := open("refused"); res.StatusCode != http.StatusConflict {
		t.Errorf("refused with %d", res.StatusCode)
	}
	res := open("goes-on")
	line := make([]byte, 3)
	if _, err := io.ReadFull(res.Body, line); err != nil || res.Header.Get("Content-Type") != "application/x-ndjson" {
		t.Fatalf("%v, %v", err, res.Header)
	}
	e.must(http.StatusOK, http.MethodDelete, box, "")
	if got, err := io.ReadAll(res.Body); len(got) > 0 || err != nil {
		t.Errorf("of a resource that was deleted: %q, %v", got, err)
	}
	e.must(http.StatusNotFound, http.MethodGet, box+"/logs", "")
	e.must(http.StatusNotFound, http.MethodGet, box+"/logStreams", "")
	e.must(http.StatusForbidden, http.MethodGet, box+"/logs", "", "as: stranger")
}

// TestEndless: the time of a request is not that of its stream, which ends with the client, the server or the token.
func TestEndless(t *testing.T) {
	type contextEnd struct{ end context.CancelFunc }
	for name, c := range map[string]struct {
		end     func(client, stop contextEnd)
		expires time.Duration
	}{
		"the client leaves": {end: func(client, _ contextEnd) { client.end() }},
		"the server stops":  {end: func(_, stop contextEnd) { stop.end() }},
		"the token expires": {end: func(_, _ contextEnd) {}, expires: time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			client, leave := context.WithCancel(t.Context())
			defer leave()
			stop, shut := context.WithCancel(t.Context())
			defer shut()
			s := &server{cfg: Config{Stop: stop}}
			over, cancel := context.WithDeadline(context.WithValue(client, untimed{}, client), time.Now().Add(-time.Second))
			defer cancel()
			p := resource.Principal{}
			if c.expires > 0 {
				p.Expires = time.Now().Add(c.expires)
			}
			ctx := context.WithValue(over, keyPrincipal, p)
			r, end := s.endless(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil).WithContext(ctx))
			defer end()
			if c.expires == 0 && r.Context().Err() != nil {
				t.Fatal("it ended with the request's time")
			}
			c.end(contextEnd{leave}, contextEnd{shut})
			<-r.Context().Done()
		})
	}
}
