package server

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/controlplane/engine"
	"fairlead.dev/fairlead/internal/controlplane/store"
)

var update = flag.Bool("update", false, "write golden files")

// Random and counted parts of answers, which differ from run to run.
var (
	randomID = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`)
	etag     = regexp.MustCompile(`\\"[0-9a-f]+-[0-9a-f]+\\"`)
)

// golden compares a JSON answer with testdata/<name>.
func golden(t *testing.T, name, body string) {
	t.Helper()
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, []byte(body), "", "  "); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, body)
	}
	got := randomID.ReplaceAllString(pretty.String(), "<random>")
	got = etag.ReplaceAllString(got, `\"<etag>\"`) + "\n"
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got); run with -update when the change is meant:\n%s", file, diff)
	}
}

// cascades lists the keys of deletions under way.
func (e *env) cascades() []string {
	e.t.Helper()
	recs, err := e.store.List(e.t.Context(), store.Query{Type: engine.TypeCascade, AnyParent: true, Limit: 10})
	if err != nil {
		e.t.Fatal(err)
	}
	var keys []string
	for _, r := range recs {
		keys = append(keys, r.Key)
	}
	return keys
}
