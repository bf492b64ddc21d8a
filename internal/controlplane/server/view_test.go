package server

import (
	"encoding/json"
	"net/http"
	"testing"
)

// A view is read by those who may read the resource, as a list and by name.
func TestViews(t *testing.T) {
	e := newEnv(t)
	box := group + "/providers/Fairlead.Test/boxes/b1"
	e.must(http.StatusCreated, http.MethodPut, box, `{"location":"local","properties":{}}`)
	for path, want := range map[string]string{"/labels": `{"value":[{"of":"b1"}]}`, "/LABELS/one": `{"of":"b1"}`} {
		if got := e.must(http.StatusOK, http.MethodGet, box+path, "").body; got != want {
			t.Errorf("%s is %s", path, got)
		}
	}
	for path, want := range map[string]string{"/labels/two": "ResourceNotFound", "/lables": "InvalidResourceType"} {
		if got := e.must(http.StatusNotFound, http.MethodGet, box+path, "").code(t); got != want {
			t.Errorf("%s: %s", path, got)
		}
	}
	e.must(http.StatusNotFound, http.MethodGet, group+"/providers/Fairlead.Test/boxes/none/labels", "")
	e.must(http.StatusMethodNotAllowed, http.MethodPut, box+"/labels/one", "{}")
	e.must(http.StatusForbidden, http.MethodGet, box+"/labels", "", "as: agent")
}

func TestRelaxedJSON(t *testing.T) {
	for in, want := range map[string]string{
		`{"a": 1}`: `{"a": 1}`,
		`{"properties": {"mode": "x", template:{ // a comment
  "a": "b // no comment", /* one
  more */ $c : true}}}`: `{"properties": {"mode": "x", "template":{   "a": "b // no comment",  "$c" : true}}}`,
		"{\"a\": \"two\nlines \\\" quoted\", b:[null, 1e3]}": `{"a": "two\nlines \" quoted", "b":[null, 1e3]}`,
		`{a`:  `{a`,
		`{"a`: `{"a`,
		`/*`:  ``,
	} {
		if got := string(relaxed([]byte(in))); got != want {
			t.Errorf("%s\nis    %s\nwants %s", in, got, want)
		}
	}
}

// FuzzRelaxedJSON: JSON stays as it is, and anything else ends.
func FuzzRelaxedJSON(f *testing.F) {
	for _, s := range []string{`{"a":"//"}`, `{a:/**/1}`, `{"a\`, "\"\n", `//`, `/*/`, `tru:e`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		got := relaxed(raw)
		if json.Valid(raw) && string(got) != string(raw) {
			t.Errorf("%q became %q", raw, got)
		}
	})
}
