package identity

import (
	"encoding/json"
	"slices"
	"testing"
)

func TestSort(t *testing.T) {
	was := Order{UserAssigned: []string{"/c", "/a"}}
	for name, c := range map[string]struct {
		ids, request []string
		want         []string
	}{
		"by name":      {[]string{"/z", "/y"}, nil, []string{"/y", "/z"}},
		"as stored":    {[]string{"/A", "/C", "/B"}, nil, []string{"/C", "/A", "/B"}},
		"as requested": {[]string{"/A", "/B", "/C"}, []string{"/b", "/c"}, []string{"/B", "/C", "/A"}},
	} {
		if got := Sort(c.ids, c.request, was); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func FuzzNamed(f *testing.F) {
	f.Add(`{"identity":{"userAssignedIdentities":{"/z":{},"/a":null,"/b":{"x":[1,{}]}}}}`)
	f.Add(`{"identity":{"userAssignedIdentities":["/z"]}}`)
	f.Add(`{"identity":{"userAssignedIdentities":{"a":{},"a":{}}}}`)
	f.Fuzz(func(t *testing.T, body string) {
		var doc struct {
			Identity struct {
				UserAssignedIdentities map[string]any `json:"userAssignedIdentities"`
			} `json:"identity"`
		}
		names := Named(json.RawMessage(body))
		if err := json.Unmarshal([]byte(body), &doc); err != nil {
			return // refused before anybody asks for the order
		}
		for _, n := range names {
			if _, ok := doc.Identity.UserAssignedIdentities[n]; !ok {
				t.Errorf("%q is in the order, but not in the object", n)
			}
		}
	})
}
