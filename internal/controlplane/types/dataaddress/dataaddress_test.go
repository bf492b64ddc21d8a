package dataaddress

import (
	"net/url"
	"testing"
)

func TestHolds(t *testing.T) {
	at := Address{"flabc", "lake", "out/x"}
	for name, c := range map[string]struct {
		other Address
		want  bool
	}{
		"itself":            {at, true},
		"below":             {Address{"flabc", "lake", "out/x/y"}, true},
		"beside":            {Address{"flabc", "lake", "out/xy"}, false},
		"above":             {Address{"flabc", "lake", "out"}, false},
		"another datastore": {Address{"flabc", "pond", "out/x"}, false},
		"another account":   {Address{"flabd", "lake", "out/x"}, false},
	} {
		if got := at.Holds(c.other); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
	if !(Address{Account: "flabc", Datastore: "lake"}).Holds(at) {
		t.Error("the whole datastore does not hold its file")
	}
}

func FuzzSplit(f *testing.F) {
	for _, s := range []string{"https://x/datastores/flabc/lake/a%20b/c", "https://x/datastores/flabc/lake", "https://x/blob/flabc/datastores/x",
		"https://x/datastores/flabc/lake/blob/flabc/azureml/x", "https://x/datastores/flabc/LAKE/%2e%2e/x", "https://x/datastores/flabc/lake/a/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, ok := Split(s)
		if !ok {
			return
		}
		u, err := url.Parse(a.Under("https://x"))
		if err != nil {
			t.Fatalf("%+v makes no URL: %v", a, err)
		}
		if again, err := ParsePath(u.EscapedPath()); err != nil || again != a {
			t.Errorf("%+v comes back as %+v, %v", a, again, err)
		}
	})
}
