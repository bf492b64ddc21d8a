package arm

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const job = "/subscriptions/S/resourceGroups/G/providers/Microsoft.ML/workspaces/w/jobs/J"

func TestParseID(t *testing.T) {
	for name, c := range map[string]struct {
		in, typ, name, parent string
	}{
		"subscription":     {"/subscriptions/S", "Microsoft.Resources/subscriptions", "S", ""},
		"group":            {"/SUBSCRIPTIONS/S/resourcegroups/G", "Microsoft.Resources/resourceGroups", "G", "/subscriptions/S"},
		"resource":         {"/subscriptions/S/resourceGroups/G/providers/N.S/boxes/b", "N.S/boxes", "b", "/subscriptions/S/resourceGroups/G"},
		"nested":           {job, "Microsoft.ML/workspaces/jobs", "J", "/subscriptions/S/resourceGroups/G/providers/Microsoft.ML/workspaces/w"},
		"extension":        {job + "/providers/N.X/addons/a", "N.X/addons", "a", job},
		"on subscription":  {"/subscriptions/S/providers/N.X/addons/a", "N.X/addons", "a", "/subscriptions/S"},
		"no leading slash": {"subscriptions/S/", "Microsoft.Resources/subscriptions", "S", ""},
	} {
		t.Run(name, func(t *testing.T) {
			id, err := ParseID(c.in)
			if err != nil {
				t.Fatal(err)
			}
			got := [3]string{id.Type(), id.Name()}
			if p, ok := id.Parent(); ok {
				got[2] = p.String()
			}
			if diff := cmp.Diff([3]string{c.typ, c.name, c.parent}, got); diff != "" {
				t.Errorf("type, name, parent (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseIDRefuses(t *testing.T) {
	for _, s := range []string{"", "/", "/subscriptions", "/x/y", job + "/lids", "/subscriptions/../x", "/subscriptions/S//x", "/subscriptions/S/resourceGroups",
		"/subscriptions/S/providers/N", "/subscriptions/S/providers/N/t", "/subscriptions/a%2fb", "/subscriptions/a\\b", "/subscriptions/a\x00b", "/subscriptions/a?b", "/subscriptions/" + strings.Repeat("x", 2048),
		"/subscriptions/S/providers/N/providers/M/t/n"} {
		if id, err := ParseID(s); err == nil {
			t.Errorf("%q parsed as %q", s, id)
		}
	}
}

func TestChild(t *testing.T) {
	id := MustParseID("/subscriptions/S/resourceGroups/G/providers/Microsoft.ML/workspaces/w")
	if got := id.Child("jobs", "J").String(); got != job {
		t.Errorf("child %s", got)
	}
	if got := id.String(); strings.Contains(got, "jobs") {
		t.Errorf("Child changed its parent: %s", got)
	}
}

// FuzzParseID: an id that parses is written so that it parses to the same again, and so does its parent.
func FuzzParseID(f *testing.F) {
	for _, s := range []string{job, "/subscriptions/S", "subscriptions/S/resourceGroups/G/", job + "/providers/N.X/addons/a", "/subscriptions/S/providers/providers/providers/x", "//", "/subscriptions/%2e%2e"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for id, err := ParseID(s); err == nil; {
			again, err2 := ParseID(id.String())
			if err2 != nil || again.Key() != id.Key() || again.Type() != id.Type() || again.Name() != id.Name() {
				t.Fatalf("%q is %q, which is %q (%v)", s, id, again, err2)
			}
			if strings.Contains(id.Key(), "/../") || strings.ContainsAny(id.Key(), "%\\\x00") {
				t.Fatalf("%q is %q", s, id)
			}
			var ok bool
			if id, ok = id.Parent(); !ok {
				return
			}
		}
	})
}
