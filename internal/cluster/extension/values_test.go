package extension

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestValues(t *testing.T) {
	defaults := map[string]any{"image": map[string]any{"agent": "a:1"}}
	cases := map[string]struct {
		settings, protected map[string]string
		want                map[string]any
		err                 string
	}{
		"nothing": {want: map[string]any{"image": map[string]any{"agent": "a:1"}}},
		"levels and strings": {
			settings:  map[string]string{"enableTraining": "True", "scoringFe.serviceType.nodePort": "true", "replicas": "1"},
			protected: map[string]string{"scoringFe.sslKey": "k"},
			want: map[string]any{
				"image": map[string]any{"agent": "a:1"}, "enableTraining": "True", "replicas": "1",
				"scoringFe": map[string]any{"serviceType": map[string]any{"nodePort": "true"}, "sslKey": "k"},
			},
		},
		"settings win over defaults": {
			settings: map[string]string{"image.agent": "b:2"},
			want:     map[string]any{"image": map[string]any{"agent": "b:2"}},
		},
		"escaped dots": {
			settings: map[string]string{`a.b\.c.d`: "1"},
			want:     map[string]any{"image": map[string]any{"agent": "a:1"}, "a": map[string]any{"b.c": map[string]any{"d": "1"}}},
		},
		"node selector names have dots": {
			settings: map[string]string{"nodeSelector.kubernetes.io/os": "linux", `nodeSelector.node\.example/pool`: "ml"},
			want: map[string]any{
				"image":        map[string]any{"agent": "a:1"},
				"nodeSelector": map[string]any{"kubernetes.io/os": "linux", "node.example/pool": "ml"},
			},
		},
		"in both maps":          {settings: map[string]string{"a": "1"}, protected: map[string]string{"a": "2"}, err: `Duplicate keys found. Setting "a"`},
		"value and level":       {settings: map[string]string{"a": "1", "a.b": "2"}, err: `setting "a.b": setting "a" has a value of its own`},
		"empty part":            {settings: map[string]string{"a..b": "1"}, err: `setting "a..b": a part of the key is empty`},
		"empty key":             {settings: map[string]string{"": "1"}, err: `setting "": a part of the key is empty`},
		"same path, two spells": {settings: map[string]string{`nodeSelector.a\.b`: "1", "nodeSelector.a.b": "2"}, err: "is given twice"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := values(defaults, c.settings, c.protected)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error %v, want one with %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("values (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(map[string]any{"image": map[string]any{"agent": "a:1"}}, defaults); diff != "" {
				t.Errorf("the defaults were changed:\n%s", diff)
			}
		})
	}
}

func FuzzValues(f *testing.F) {
	f.Add("enableTraining", "True", "nodeSelector.a.b")
	f.Add(`a\.b.c`, "", `a\`)
	f.Fuzz(func(t *testing.T, key, value, other string) {
		out, err := values(nil, map[string]string{key: value, other: "x"}, nil)
		if err == nil && len(out) == 0 {
			t.Fatalf("%q and %q were lost", key, other)
		}
	})
}
