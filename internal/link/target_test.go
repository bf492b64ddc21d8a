package link

import (
	"strings"
	"testing"
)

const objectID = "6f9619ff-8b86-d011-b42d-00c04fc964ff"

func TestTargetsOfTheAPIServer(t *testing.T) {
	for name, c := range map[string]struct {
		line, refused string
	}{
		"owner":                 {`{"kind":"kube","user":"` + objectID + `","userKind":"User","groups":["fairlead:owners"]}`, ""},
		"nobody's group":        {`{"kind":"kube","user":"` + objectID + `","userKind":"ServicePrincipal"}`, ""},
		"no user":               {`{"kind":"kube","userKind":"User"}`, "is not an object id"},
		"Kubernetes' own name":  {`{"kind":"kube","user":"system:admin","userKind":"User"}`, "is not an object id"},
		"service account":       {`{"kind":"kube","user":"system:serviceaccount:kube-system:x","userKind":"User"}`, "is not an object id"},
		"line break":            {`{"kind":"kube","user":"` + objectID + `\nX: y","userKind":"User"}`, "is not an object id"},
		"masters":               {`{"kind":"kube","user":"` + objectID + `","userKind":"User","groups":["fairlead:owners","system:masters"]}`, "is none of"},
		"an agent":              {`{"kind":"kube","user":"` + objectID + `","userKind":"Agent"}`, "is none of"},
		"a pod too":             {`{"kind":"kube","user":"` + objectID + `","userKind":"User","namespace":"x"}`, "names no pod"},
		"a run with a user":     {`{"kind":"run","namespace":"x","jobId":"0123456789abcdef0123456789abcdef","user":"` + objectID + `"}`, "has no user"},
		"another kind of thing": {`{"kind":"tcp"}`, "is not allowed"},
		"a log":                 {`{"kind":"log","namespace":"x","deployment":"digits-blue-01234567","container":"inference-server","tail":50}`, ""},
		"a log without end":     {`{"kind":"log","namespace":"x","deployment":"digits-blue-01234567","container":"inference-server"}`, "is not 1 to 10000"},
		"a log of all":          {`{"kind":"log","namespace":"x","deployment":"a,b!=c","container":"inference-server","tail":1}`, "is not the name of an object"},
		"a log of another":      {`{"kind":"log","namespace":"x","deployment":"a","container":"istio-proxy","tail":1}`, "is none of"},
		"a log and a run":       {`{"kind":"log","namespace":"x","deployment":"a","container":"inference-server","tail":1,"jobId":"0123456789abcdef0123456789abcdef"}`, "names a deployment only"},
		"a log since":           {`{"kind":"log","namespace":"x","deployment":"a","container":"inference-server","tail":1,"since":"2026-03-04T05:06:07Z"}`, "has no since"},
		"following":             {`{"kind":"follow","namespace":"x","deployment":"a","container":"storage-initializer","since":"2026-03-04T05:06:07Z"}`, ""},
		"following too much":    {`{"kind":"follow","namespace":"x","deployment":"a","container":"inference-server","tail":10001}`, "is not 1 to 10000"},
		"following a user":      {`{"kind":"follow","namespace":"x","deployment":"a","container":"inference-server","user":"` + objectID + `"}`, "names a deployment only"},
		"a run since":           {`{"kind":"run","namespace":"x","jobId":"0123456789abcdef0123456789abcdef","since":"2026-03-04T05:06:07Z"}`, "has no user and no deployment"},
		"a run with a log":      {`{"kind":"run","namespace":"x","jobId":"0123456789abcdef0123456789abcdef","tail":1}`, "has no user and no deployment"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseTarget([]byte(c.line))
			if (err == nil) != (c.refused == "") || (err != nil && !strings.Contains(err.Error(), c.refused)) {
				t.Errorf("%v, want %q", err, c.refused)
			}
		})
	}
}
