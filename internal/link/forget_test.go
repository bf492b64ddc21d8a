package link

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestObserverForgets(t *testing.T) {
	posted := make(chan []Value, 10)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var req ObservedRequest
		if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
			t.Error(err)
		}
		posted <- req.Values
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(srv.Close)
	o := NewObserver(testClient(t, srv))
	for _, key := range []string{"a", "b", "c"} {
		if err := o.Set(key, 1); err != nil {
			t.Fatal(err)
		}
	}
	o.Forget("b")
	o.Forget("never set")
	done := make(chan error, 1)
	go func() { done <- o.Run(t.Context()) }()
	if err := o.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := []Value{{Key: "a", Value: []byte("1")}, {Key: "c", Value: []byte("1")}}
	if diff := cmp.Diff(want, <-posted); diff != "" {
		t.Errorf("posted (-want +got):\n%s", diff)
	}
	if err := o.Set("b", 2); err != nil { // a new word after the old one was forgotten
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Value{{Key: "b", Value: []byte("2")}}, <-posted); diff != "" {
		t.Errorf("posted (-want +got):\n%s", diff)
	}

}
