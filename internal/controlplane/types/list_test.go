package types_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/api/machinelearning"
	"fairlead.dev/fairlead/internal/controlplane/engine"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/types"
	"fairlead.dev/fairlead/internal/controlplane/types/typestest"
)

func TestFilters(t *testing.T) {
	e := typestest.New(t)
	e.Ready()
	ws := typestest.Workspace
	e.Put(ws+"/codes/abc/versions/1", fmt.Sprintf(typestest.CodeBody, account()))
	e.Put(ws+"/jobs/a", with(t, `"tags":{"k":"v"}`))
	e.Put(ws+"/jobs/b", with(t, `"tags":{"k":"w"}`))
	e.Put(ws+"/jobs/c", with(t, `"isArchived":true`))
	e.Put(ws+"/datastores/lake", s3Store(`"bucketName":"lake","region":"x",`+s3Key))
	for name, c := range map[string]struct {
		typ, parent string
		query       map[string]string
		want        []string
	}{
		"jobs, newest first": {"workspaces/jobs", ws, nil, []string{"b", "a"}},
		"jobs, archived too": {"workspaces/jobs", ws, map[string]string{"listviewtype": "All"}, []string{"c", "b", "a"}},
		"jobs by tag":        {"workspaces/jobs", ws, map[string]string{"tag": "k"}, []string{"b", "a"}},
		"jobs by tag, value": {"workspaces/jobs", ws, map[string]string{"tag": "k=v"}, []string{"a"}},
		"jobs by type":       {"workspaces/jobs", ws, map[string]string{"jobType": "Sweep"}, nil},
		"code by hash":       {"workspaces/codes/versions", ws + "/codes/abc", map[string]string{"hash": "abc"}, []string{"1"}},
		"code by other hash": {"workspaces/codes/versions", ws + "/codes/abc", map[string]string{"hash": "abd"}, nil},
		"datastores":         {"workspaces/datastores", ws, map[string]string{"api-version": machinelearning.APIVersion}, []string{"workspaceblobstore", "workspaceartifactstore", "lake"}},
		"known to an SDK":    {"workspaces/datastores", ws, map[string]string{"api-version": "2024-07-01-preview"}, []string{"workspaceblobstore", "workspaceartifactstore"}},
		"default datastore":  {"workspaces/datastores", ws, map[string]string{"isDefault": "true"}, []string{"workspaceblobstore"}},
	} {
		t.Run(name, func(t *testing.T) {
			typ, _ := e.Engine.Registry.Lookup("Microsoft.MachineLearningServices/" + c.typ)
			page, err := e.Engine.List(e.Ctx, e.Store, engine.ListRequest{Types: []*resource.Type{typ}, Parent: strings.ToLower(c.parent), Query: c.query, Top: 10})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, rec := range page.Records {
				got = append(got, rec.Name)
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func BenchmarkSubmit(b *testing.B) {
	e := typestest.New(b)
	e.Ready()
	b.ResetTimer()
	n := 0
	for b.Loop() {
		n++
		e.Put(fmt.Sprintf("%s/jobs/j%d", typestest.Workspace, n), typestest.JobBody)
	}
}

// TestAPIVersions: what this project's clients send is advertised, newest first.
func TestAPIVersions(t *testing.T) {
	for _, typ := range types.All(typestest.New(t).Deps) {
		t.Run(typ.Namespace+"/"+typ.Name, func(t *testing.T) {
			if typ.Namespace == "Microsoft.MachineLearningServices" && !slices.Contains(typ.APIVersions, machinelearning.APIVersion) {
				t.Errorf("%v lacks %s", typ.APIVersions, machinelearning.APIVersion)
			}
			if !slices.IsSortedFunc(typ.APIVersions, func(a, b string) int { return strings.Compare(b[:10], a[:10]) }) {
				t.Errorf("%v is not in order, newest first", typ.APIVersions)
			}
		})
	}
}
