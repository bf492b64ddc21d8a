package server

import (
	"slices"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/controlplane/types"
)

// TestSelection: a selection lists what belongs to a resource of what is beside it, a page at a time, for those who may read that.
func TestSelection(t *testing.T) {
	e := newEnv(t)
	e.must(404, "GET", box+"/twins", "")
	parent := strings.TrimSuffix(box, box[strings.LastIndex(box, "/"):])
	for name, color := range map[string]string{"r1": "red", "r2": "red", "r3": "red", "x1": "blue"} {
		e.must(201, "PUT", parent+"/"+name, `{"properties":{"color":"`+color+`"}}`)
	}
	e.must(201, "PUT", box, `{"properties":{"color":"red"}}`)
	names := func(path string) (out []string) {
		for path != "" {
			page := e.must(200, "GET", path, "").json(t)
			for _, v := range page["value"].([]any) {
				out = append(out, v.(map[string]any)["name"].(string))
			}
			path, _ = page["nextLink"].(string)
		}
		slices.Sort(out)
		return out
	}
	want := []string{"r1", "r2", "r3"}
	for _, path := range []string{box + "/twins", box + "/TWINS?$top=1", types.BatchPrefix + box + "/twins?$top=2"} {
		if got := names(path); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
	}
	for _, model := range []string{"mine", "other"} {
		e.must(201, "PUT", box+"/models/"+model+"/versions/1", `{"properties":{}}`)
	}
	if got := names(box + "/models/mine/versions/1/kin"); !slices.Equal(got, []string{"mine"}) {
		t.Errorf("what is beside a resource further up: %v", got)
	}
	if a := e.do("GET", box+"/twins", "", "as: stranger"); a.status != 403 {
		t.Errorf("who may not read: %d", a.status)
	}
	e.must(405, "DELETE", box+"/twins", "")
}

// TestDataPlane: what clients send to the data plane's address, without api-version, is answered as the resource manager does.
func TestDataPlane(t *testing.T) {
	e := newEnv(t)
	e.must(201, "PUT", box, `{"properties":{}}`)
	e.must(400, "POST", box+"/ping?noversion", "")
	e.must(200, "POST", types.BatchPrefix+box+"/ping?noversion", "")
	e.must(401, "POST", types.BatchPrefix+box+"/ping?noversion", "", "as: -")
	e.must(404, "GET", types.BatchPrefix+"/healthz", "")
	e.must(200, "GET", "/rp/workspaces"+box, "")
	e.must(403, "GET", "/rp/workspaces"+box, "", "as: stranger")
	e.must(404, "GET", "/rp/workspaces/healthz", "")
}
