package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/api/arm"
)

func TestLifeOfAResource(t *testing.T) {
	e := newEnv(t)
	e.must(404, "GET", box, "")
	e.must(404, "HEAD", box, "")
	made := e.must(201, "PUT", box, `{"location":"edge","tags":{"a":"1"},"properties":{"color":"red","size":3,"password":"s3cret","provisioningState":"Failed"},"id":"x","systemData":{}}`)
	if strings.Contains(made.body, "s3cret") {
		t.Errorf("the answer has the secret: %s", made.body)
	}
	golden(t, "box.json", made.body)
	if made.header.Get("ETag") != made.json(t)["etag"] {
		t.Errorf("etag: header %q, body %v", made.header.Get("ETag"), made.json(t)["etag"])
	}
	got := e.must(200, "GET", strings.ToUpper(box), "")
	if diff := cmp.Diff(made.json(t), got.json(t)); diff != "" {
		t.Errorf("GET in upper case differs (-PUT +GET):\n%s", diff)
	}
	e.must(204, "HEAD", box, "")
	e.must(304, "GET", box, "", "If-None-Match: "+made.header.Get("ETag"))
	e.must(200, "PUT", strings.ToLower(box), `{"properties":{"color":"blue"}}`)
	merged := e.must(200, "PATCH", box, `{"tags":{"a":null,"b":"2"},"properties":{"size":4}}`)
	golden(t, "box-merged.json", merged.body)
	if keys := e.must(200, "POST", box+"/listKeys", ""); keys.json(t)["key"] != "s3cret" {
		t.Errorf("listKeys: %s", keys.body)
	}
	if a := e.must(200, "POST", box+"/PING", ""); a.body != "" {
		t.Errorf("ping answered %q", a.body)
	}
	e.must(200, "DELETE", box, "")
	e.must(204, "DELETE", box, "")
	e.must(404, "GET", box, "")
}

func TestETags(t *testing.T) {
	e := newEnv(t)
	e.must(412, "PUT", box, `{"properties":{}}`, `If-Match: "1-1"`)
	e.must(412, "DELETE", box, "", "If-Match: *")
	tag := e.must(201, "PUT", box, `{"properties":{}}`, "If-None-Match: *").header.Get("ETag")
	e.must(412, "PUT", box, `{"properties":{}}`, "If-None-Match: *")
	newer := e.must(200, "PUT", box, `{"properties":{"size":1}}`, "If-Match: "+tag).header.Get("ETag")
	if newer == tag {
		t.Fatalf("etag %s did not change", tag)
	}
	for _, method := range []string{"PUT", "PATCH", "DELETE"} {
		a := e.do(method, box, `{"properties":{}}`, "If-Match: "+tag)
		if a.status != 412 || a.code(t) != "PreconditionFailed" || !strings.Contains(a.body, "Read it again") {
			t.Errorf("%s with an old etag: %d %s", method, a.status, a.body)
		}
	}
	e.must(200, "PATCH", box, `{"properties":{}}`, "If-Match: "+strings.Trim(newer, `"`))
}

func TestOnlyOneConcurrentWriterWins(t *testing.T) {
	e := newEnv(t)
	tag := e.must(201, "PUT", box, `{"properties":{"n":0}}`).header.Get("ETag")
	const writers = 16
	statuses := make([]int, writers)
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			statuses[i] = e.do("PUT", box, fmt.Sprintf(`{"properties":{"n":%d}}`, i+1), "If-Match: "+tag).status
		})
	}
	wg.Wait()
	count := map[int]int{}
	for _, s := range statuses {
		count[s]++
	}
	if diff := cmp.Diff(map[int]int{200: 1, 412: writers - 1}, count); diff != "" {
		t.Errorf("statuses (-want +got):\n%s", diff)
	}
}

func TestAsyncResource(t *testing.T) {
	e := newEnv(t)
	slow := group + "/providers/Fairlead.Test/slow/s1"
	made := e.must(201, "PUT", slow, `{"properties":{}}`)
	golden(t, "slow-creating.json", made.body)
	opURL, result := made.header.Get("Azure-AsyncOperation"), made.header.Get("Location")
	if !strings.HasPrefix(opURL, e.url+"/subscriptions/") || !strings.HasSuffix(opURL, "?api-version=2024-01-01") || made.header.Get("Retry-After") == "" {
		t.Fatalf("headers: %v", made.header)
	}
	running := e.must(200, "GET", opURL, "")
	golden(t, "operation-running.json", running.body)
	if a := e.must(202, "GET", result, ""); a.header.Get("Location") == "" {
		t.Error("a running result has no Location")
	}
	e.finish(slow, arm.StateSucceeded, nil)
	golden(t, "operation-done.json", e.must(200, "GET", opURL, "").body)
	done := e.must(200, "GET", result, "").json(t)
	if state := done["properties"].(map[string]any)["provisioningState"]; state != "Succeeded" {
		t.Errorf("provisioningState %v", state)
	}
	if a := e.must(202, "PATCH", slow, `{"properties":{"x":1}}`); a.header.Get("Azure-AsyncOperation") == "" {
		t.Error("PATCH gave no operation")
	}
	e.finish(slow, arm.StateFailed, arm.Errorf(409, "HelmFailed", "chart not found"))
	again := e.must(200, "PUT", slow, `{"properties":{}}`)
	e.finish(slow, arm.StateFailed, arm.Errorf(409, "HelmFailed", "chart not found"))
	golden(t, "operation-failed.json", e.must(200, "GET", again.header.Get("Azure-AsyncOperation"), "").body)
	if a := e.must(409, "GET", again.header.Get("Location"), ""); a.code(t) != "HelmFailed" {
		t.Errorf("failed result: %s", a.body)
	}
	gone := e.must(202, "DELETE", slow, "")
	if a := e.must(409, "PUT", slow, `{"properties":{}}`); a.code(t) != "ResourceBeingDeleted" {
		t.Errorf("PUT while deleting: %s", a.body)
	}
	if again := e.must(202, "DELETE", slow, ""); again.header.Get("Azure-AsyncOperation") != gone.header.Get("Azure-AsyncOperation") {
		t.Error("a second DELETE began a second operation")
	}
	e.finish(slow, arm.StateSucceeded, nil)
	e.must(204, "GET", gone.header.Get("Location"), "")
	e.must(404, "GET", slow, "")
	e.must(404, "GET", strings.Replace(opURL, "11111111-1111", "22222222-2222", 1), "")
	e.must(403, "GET", opURL, "", "as: stranger")
}

func TestExtensionResource(t *testing.T) {
	e := newEnv(t)
	addon := box + "/providers/Fairlead.Other/addons/a1"
	if a := e.must(404, "PUT", addon, `{"properties":{}}`); a.code(t) != "ParentResourceNotFound" {
		t.Errorf("without the extended resource: %s", a.body)
	}
	e.must(201, "PUT", box, `{"properties":{}}`)
	made := e.must(201, "PUT", addon, `{"properties":{}}`)
	if op := made.header.Get("Azure-AsyncOperation"); !strings.Contains(op, "/addons/a1/operations/") {
		t.Errorf("Azure-AsyncOperation %q", op)
	}
	golden(t, "operation-extension.json", e.must(200, "GET", made.header.Get("Azure-AsyncOperation"), "").body)
	if n := len(e.list(box + "/providers/Fairlead.Other/addons")); n != 1 {
		t.Errorf("%d addons listed on the box", n)
	}
	if n := len(e.list(group + "/providers/Fairlead.Other/addons")); n != 1 {
		t.Errorf("%d addons listed in the group", n)
	}
	if a := e.must(400, "PUT", group+"/providers/Fairlead.Other/addons/a1", `{"properties":{}}`); a.code(t) != "InvalidResourceScope" {
		t.Errorf("addon in a group: %s", a.body)
	}
	if a := e.must(400, "PUT", addon+"/providers/Fairlead.Test/boxes/b", `{"properties":{}}`); a.code(t) != "InvalidResourceScope" {
		t.Errorf("box on an addon: %s", a.body)
	}
}

func TestVersionsMakeTheirContainer(t *testing.T) {
	e := newEnv(t)
	e.must(201, "PUT", box, `{"properties":{}}`)
	m := box + "/models/m"
	if a := e.must(404, "PUT", group+"/providers/Fairlead.Test/boxes/none/models/m/versions/1", `{"properties":{}}`); a.code(t) != "ParentResourceNotFound" {
		t.Errorf("in an absent box: %s", a.body)
	}
	if a := e.must(200, "POST", m+"/versions/1/startUpload", `{}`); a.json(t)["exists"] != false {
		t.Errorf("startUpload before the version: %s", a.body)
	}
	for _, v := range []string{"1", "7", "draft"} {
		e.must(201, "PUT", m+"/versions/"+v, `{"properties":{}}`)
	}
	want := func(latest any, next string) {
		t.Helper()
		p := e.must(200, "GET", m, "").json(t)["properties"].(map[string]any)
		if p["latestVersion"] != latest || p["nextVersion"] != next {
			t.Errorf("latestVersion %v, nextVersion %v; want %v, %s", p["latestVersion"], p["nextVersion"], latest, next)
		}
	}
	want("draft", "8")
	e.must(200, "DELETE", m+"/versions/draft", "")
	want("7", "8")
	e.must(200, "DELETE", m+"/versions/7", "")
	want("1", "8") // numbers are not used again
	e.must(200, "DELETE", m+"/versions/1", "")
	want(nil, "8")
	e.must(201, "PUT", m+"/versions/8", `{"properties":{}}`)
	e.must(200, "DELETE", m, "")
	e.must(404, "GET", m+"/versions/8", "")
}

// What is searched for is found under any name, and what no name has is not.
func TestSearchUnderAllNames(t *testing.T) {
	e := newEnv(t)
	e.must(201, "PUT", box, `{"properties":{}}`)
	e.must(201, "PUT", box+"/models/one/versions/1", `{"properties":{"hash":"abc"}}`)
	e.must(201, "PUT", box+"/models/two/versions/1", `{"properties":{"hash":"xyz"}}`)
	e.must(201, "PUT", group+"/providers/Fairlead.Test/boxes/other", `{"properties":{}}`)
	e.must(201, "PUT", group+"/providers/Fairlead.Test/boxes/other/models/one/versions/1", `{"properties":{"hash":"abc"}}`)
	for query, want := range map[string]string{"hash=abc": box + "/models/one/versions/1", "hash=none": ""} {
		ids := []string{}
		for _, v := range e.must(200, "GET", box+"/models/new/versions?"+query, "").json(t)["value"].([]any) {
			ids = append(ids, v.(map[string]any)["id"].(string))
		}
		if got := strings.Join(ids, " "); got != want {
			t.Errorf("%s finds %q, want %q", query, got, want)
		}
	}
	e.must(404, "GET", group+"/providers/Fairlead.Test/boxes/none/models/new/versions?hash=abc", "")
}

func (e *env) list(path string, headers ...string) []string {
	e.t.Helper()
	var names []string
	for next := path; next != ""; {
		var page arm.Page
		a := e.must(200, "GET", next, "", headers...)
		if err := json.Unmarshal([]byte(a.body), &page); err != nil {
			e.t.Fatal(err)
		}
		for _, raw := range page.Value {
			var r arm.Resource
			if err := json.Unmarshal(raw, &r); err != nil {
				e.t.Fatal(err)
			}
			names = append(names, r.Name)
		}
		next = page.NextLink
	}
	return names
}

func TestLists(t *testing.T) {
	e := newEnv(t)
	for i := range 5 {
		e.must(201, "PUT", fmt.Sprintf("%s/providers/Fairlead.Test/boxes/b%d", group, i), `{"properties":{}}`)
	}
	for i := range 7 {
		e.must(201, "PUT", fmt.Sprintf("%s/models/m/versions/%d", box, i), fmt.Sprintf(`{"properties":{"tag":"t%d","isArchived":%t}}`, i%2, i == 6))
	}
	e.must(201, "PUT", sub+"/resourceGroups/rg2", `{"location":"local"}`)
	e.must(201, "PUT", sub+"/resourceGroups/rg2/providers/Fairlead.Test/boxes/other", `{"properties":{}}`)
	boxes := []string{"b0", "b1", "b2", "b3", "b4"}
	v := box + "/models/m/versions"
	for name, c := range map[string]struct {
		path string
		want []string
	}{
		"in the group":          {group + "/providers/Fairlead.Test/boxes", boxes},
		"page by page":          {group + "/providers/fairlead.test/Boxes?$top=2", boxes},
		"exact page":            {group + "/providers/Fairlead.Test/boxes?$top=5", boxes},
		"in the subscription":   {sub + "/providers/Fairlead.Test/boxes?$top=4", append(boxes[:5:5], "other")},
		"groups":                {sub + "/resourceGroups?$top=1", []string{"rg1", "rg2"}},
		"group's resources":     {group + "/resources?$top=3", boxes},
		"resources by type":     {sub + "/resources?$filter=resourceType%20eq%20'Fairlead.Test/Boxes'", append(boxes[:5:5], "other")},
		"resources of two":      {sub + "/resources?$filter=resourceType%20eq%20'Fairlead.Test/slow'%20or%20resourceType%20eq%20'Fairlead.Test/slow'", nil},
		"newest first":          {v + "?$top=4", []string{"5", "4", "3", "2", "1", "0"}},
		"oldest first":          {v + "?$orderBy=createdtime%20asc&$top=4", []string{"0", "1", "2", "3", "4", "5"}},
		"newest, the other way": {group + "/providers/Fairlead.Test/boxes?orderBy=CreatedTimeDesc&$top=2", []string{"b4", "b3", "b2", "b1", "b0"}},
		"an order of others":    {v + "?$orderBy=name", []string{"5", "4", "3", "2", "1", "0"}},
		"archived too":          {v + "?listViewType=All&$top=2", []string{"6", "5", "4", "3", "2", "1", "0"}},
		"archived only":         {v + "?listViewType=ArchivedOnly", []string{"6"}},
		"filtered page by page": {v + "?tag=t0&$top=1", []string{"4", "2", "0"}},
		"subscriptions":         {"/subscriptions", []string{"11111111-1111-1111-1111-111111111111"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, e.list(c.path)); diff != "" {
				t.Errorf("names (-want +got):\n%s", diff)
			}
		})
	}
	if a := e.must(200, "GET", v+"?$skip="+token(e, v), ""); !strings.Contains(a.body, `"value"`) {
		t.Errorf("$skip: %s", a.body)
	}
	e.must(400, "GET", v+"?$skipToken=garbage", "")
	e.must(400, "GET", v+"?$top=0", "")
	e.must(400, "GET", v+"?$top=1001", "")
	e.must(400, "GET", sub+"/resources?$filter=name%20eq%20'x'", "")
}

// token is the continuation token of the first page of two.
func token(e *env, path string) string {
	a := e.must(200, "GET", path+"?$top=2", "")
	next, _ := a.json(e.t)["nextLink"].(string)
	_, after, _ := strings.Cut(next, "skipToken=")
	tok, _, _ := strings.Cut(after, "&")
	return tok
}

func TestDeleteWithContent(t *testing.T) {
	e := newEnv(t)
	e.must(201, "PUT", box, `{"properties":{"inUse":true}}`)
	e.must(201, "PUT", box+"/models/m/versions/1", `{"properties":{}}`)
	e.must(409, "DELETE", box, "")
	e.must(200, "GET", box+"/models/m/versions/1", "") // nothing half done
	e.must(200, "DELETE", box+"?forceDelete=true", "")
	e.must(404, "GET", box+"/models/m", "")
	empty := sub + "/resourceGroups/empty"
	e.must(201, "PUT", empty, `{}`)
	e.must(200, "DELETE", empty, "")
	if a := e.must(404, "GET", empty+"/providers/Fairlead.Test/boxes/b", ""); a.code(t) != "ResourceGroupNotFound" {
		t.Errorf("after deletion of the group: %s", a.body)
	}
}

// drive steps every deletion until none gets further.
func (e *env) drive() {
	e.t.Helper()
	for again := true; again; {
		again = false
		for _, key := range e.cascades() {
			done, progress, err := e.engine.CascadeStep(e.t.Context(), key)
			if err != nil {
				e.t.Fatal(err)
			}
			again = again || done || progress
		}
	}
}

func TestDeleteGroupWithSlowContent(t *testing.T) {
	e := newEnv(t)
	e.must(201, "PUT", box, `{"properties":{}}`)
	addon := box + "/providers/Fairlead.Other/addons/a1"
	e.must(201, "PUT", addon, `{"properties":{}}`)
	e.finish(addon, arm.StateSucceeded, nil)
	a := e.must(202, "DELETE", group, "")
	if b := e.must(409, "PUT", group+"/providers/Fairlead.Test/boxes/new", `{"properties":{}}`); b.code(t) != "ResourceGroupBeingDeleted" {
		t.Errorf("PUT in a group that is being deleted: %s", b.body)
	}
	e.drive()
	e.must(200, "GET", addon, "") // waits for its reconciler
	e.must(200, "GET", group, "")
	e.finish(addon, arm.StateSucceeded, nil)
	e.drive()
	status := e.must(200, "GET", a.header.Get("Azure-AsyncOperation"), "").json(t)["status"]
	if status != "Succeeded" {
		t.Errorf("operation %v", status)
	}
	e.must(404, "GET", group, "")
	if left := e.cascades(); len(left) != 0 {
		t.Errorf("work items left: %v", left)
	}
}

func TestDeleteGroupFailsWhenContentRefuses(t *testing.T) {
	e := newEnv(t)
	e.must(201, "PUT", box, `{"properties":{"inUse":true}}`)
	slow := group + "/providers/Fairlead.Test/slow/s1"
	e.must(201, "PUT", slow, `{"properties":{}}`)
	a := e.must(202, "DELETE", group, "")
	e.drive()
	e.finish(slow, arm.StateSucceeded, nil)
	e.drive()
	golden(t, "operation-group-refused.json", e.must(200, "GET", a.header.Get("Azure-AsyncOperation"), "").body)
	e.must(200, "GET", box, "")
	if state := e.must(200, "GET", group, "").json(t)["properties"].(map[string]any)["provisioningState"]; state != "Failed" {
		t.Errorf("provisioningState %v", state)
	}
	e.must(http.StatusOK, "PUT", box, `{"properties":{}}`)
	e.must(202, "DELETE", group, "")
	e.drive()
	e.must(404, "GET", group, "")
}
