package filter

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/controlplane/store"
)

type conditions = []store.TrackedCondition

func TestParse(t *testing.T) {
	for text, want := range map[string]conditions{
		"":   nil,
		"  ": nil,
		"metrics.loss < 0.5 AND params.`learning rate` = '0.1'": {{Field: metric, Key: "loss", Op: "<", Number: 0.5}, {Field: param, Key: "learning rate", Op: "=", Text: "0.1"}},
		"metric.\"a b\">=-1e-3":                                 {{Field: metric, Key: "a b", Op: ">=", Number: -1e-3}},
		"tags.mlflow.runName LIKE 'a%'":                         {{Field: tag, Key: "mlflow.runName", Op: "LIKE", Text: "a%"}},
		"tag.a ilike \"x\" and tag.b is not null":               {{Field: tag, Key: "a", Op: "ILIKE", Text: "x"}, {Field: tag, Key: "b", Op: "IS NOT NULL"}},
		"run_id NOT IN ('a', \"b\")":                            {{Field: attribute, Key: "run_id", Op: "NOT IN", List: []string{"a", "b"}}},
		"attributes.`run name` = 'x'":                           {{Field: attribute, Key: "run_name", Op: "=", Text: "x"}},
		"Created > 5":                                           {{Field: attribute, Key: "start_time", Op: ">", Number: 5}},
		"dataset.digest = 'it''s'":                              {{Field: dataset, Key: "digest", Op: "=", Text: "it''s"}},
	} {
		if got, err := Runs.Parse(text); err != nil || !cmp.Equal(got, want) {
			t.Errorf("%q: %v, %v", text, cmp.Diff(want, got), err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for text, says := range map[string]string{
		"metrics.a < 1 OR metrics.a > 2": `"OR" stands where AND`,
		"metrics.a < '1'":                "where a number belongs",
		"params.a = 1":                   "text in quotes",
		"params.a > '1'":                 "cannot be compared by >",
		"nothing = 'x'":                  `no attribute "nothing"`,
		"nothings.a = 'x'":               `"nothings" is no kind of thing`,
		"params.a = 'x":                  "not closed",
		"params.`a = 'x'":                "not closed",
		"status IN ('a')":                "cannot be compared with a list",
		"run_id IN ()":                   "a list is texts",
		"metrics.a <":                    "the end stands where a number",
		"metrics.a < 1 AND":              "the end stands where the name",
		"(metrics.a < 1)":                "a list is texts",
		"metrics.a == 1":                 "cannot be compared by ==",
		strings.Repeat("x", maxLength+1): "bytes long",
		strings.Repeat("run_id = 'a' AND ", maxConditions) + "run_id = 'a'": "more than 100 conditions",
	} {
		if _, err := Runs.Parse(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%.60q: %v, want %q", text, err, says)
		}
	}
}

func TestParseOrders(t *testing.T) {
	got, err := Runs.ParseOrders([]string{"metrics.`a b` DESC", "params.x asc", "Created"})
	want := []store.TrackedOrder{{Field: metric, Key: "a b", Descending: true}, {Field: param, Key: "x"}, {Field: attribute, Key: "start_time"}}
	if err != nil || !cmp.Equal(got, want) {
		t.Errorf("%v, %v", cmp.Diff(want, got), err)
	}
	for _, text := range []string{"", "metrics.a up", "nothing", "dataset.name", "metrics.a DESC more"} {
		if _, err := Runs.ParseOrders([]string{text}); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
	if _, err := Runs.ParseOrders([]string{"run_id", "run_id DESC"}); err == nil {
		t.Error("the same twice was taken")
	}
}

func TestMatch(t *testing.T) {
	v := Values{
		Text: func(f store.TrackedField, key string) (string, bool) {
			s, ok := map[string]string{"attribute/name": "Clf", "tag/a": "x"}[string(f)+"/"+key]
			return s, ok
		},
		Number: func(_ store.TrackedField, key string) (float64, bool) { return 5, key == "creation_time" },
	}
	for text, want := range map[string]bool{
		"name = 'Clf'": true, "name LIKE 'C%'": true, "name LIKE 'c%'": false, "name ILIKE 'c_F'": true, "name LIKE '%l%f%'": true, "name LIKE 'Clf_'": false,
		"tags.a != 'y'": true, "tags.b != 'y'": false, "tags.b IS NULL": true, "tags.a IS NULL": false, "tags.a IS NOT NULL": true, "creation_time >= 5": true, "creation_time < 5": false,
		"tags.`mlflow.prompt.is_prompt` != 'true'": true, "experiment_id = 'x'": false, "name != ''": true,
	} {
		c, err := Experiments.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := Match(c, v); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

// FuzzParse: any text is read or refused, and what is read can be matched.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"metrics.loss < 0.5 AND params.`a` = 'b'", "run_id IN ('a', \"b\")", "tags.a is not null", "attr.start_time>=-1.5e3", "a.'b' LIKE \"%_\\'\"", "order DESC"} {
		f.Add(seed)
	}
	nothing := Values{Text: func(store.TrackedField, string) (string, bool) { return "text", true }, Number: func(store.TrackedField, string) (float64, bool) { return 0, false }}
	f.Fuzz(func(t *testing.T, text string) {
		for _, l := range []Language{Runs, Experiments, Models, ModelVersions, LoggedModels} {
			conditions, err := l.Parse(text)
			if err == nil && strings.TrimSpace(text) != "" && len(conditions) == 0 {
				t.Errorf("%q is no condition", text)
			}
			Match(conditions, nothing)
			orders, err := l.ParseOrders([]string{text})
			if err == nil && len(orders) != 1 {
				t.Errorf("%q is %d orders", text, len(orders))
			}
		}
	})
}
