package uri

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const wsKey = "/subscriptions/s/resourcegroups/g/providers/microsoft.machinelearningservices/workspaces/w"

func TestParse(t *testing.T) {
	for in, want := range map[string]Ref{
		"azureml://datastores/d/paths/a/b.csv":                                         {Kind: Datastore, Name: "d", Path: "a/b.csv"},
		"azureml://datastores/d/paths/a/":                                              {Kind: Datastore, Name: "d", Path: "a"},
		"azureml://datastores/d/paths/":                                                {Kind: Datastore, Name: "d"},
		"azureml://subscriptions/S/resourcegroups/G/workspaces/W/datastores/d/paths/x": {Kind: Datastore, Workspace: wsKey, Name: "d", Path: "x"},
		"azureml://subscriptions/S/resourceGroups/G/providers/Microsoft.MachineLearningServices/workspaces/W/datastores/d/paths/x": {Kind: Datastore, Workspace: wsKey, Name: "d", Path: "x"},
		"azureml://jobs/j1/outputs/artifacts/paths/outputs/model/":                                                                 {Kind: JobOutput, Name: "j1", Output: "artifacts", Path: "outputs/model"},
		"azureml://jobs/j1/outputs/model":                            {Kind: JobOutput, Name: "j1", Output: "model"},
		"azureml://locations/x/workspaces/AB-1/data/iris/versions/3": {Kind: Asset, WorkspaceID: "ab-1", Type: "data", Name: "iris", Version: "3"},
		"azureml:iris:3":      {Kind: Asset, Name: "iris", Version: "3"},
		"azureml:iris@latest": {Kind: Asset, Name: "iris", Label: "latest"},
		"azureml:" + wsKey + "/environments/e/versions/1": {Kind: Asset, Workspace: wsKey, Type: "environments", Name: "e", Version: "1"},
		"azureml:/subscriptions/S/resourceGroups/G/providers/Microsoft.MachineLearningServices/workspaces/W/datastores/d/paths/x/y/": {Kind: Datastore, Workspace: wsKey, Name: "d", Path: "x/y"},
		"/subscriptions/S/resourceGroups/G/providers/Microsoft.MachineLearningServices/workspaces/W/dataStores/d/paths/":             {Kind: Datastore, Workspace: wsKey, Name: "d"},
		"/subscriptions/S/resourceGroups/G/providers/Microsoft.MachineLearningServices/workspaces/W/codes/c/versions/1":              {Kind: Asset, Workspace: wsKey, Type: "codes", Name: "c", Version: "1"},
		"https://example.org/data/a.csv?x=1": {Kind: HTTPS, URL: "https://example.org/data/a.csv?x=1"},
	} {
		t.Run(in, func(t *testing.T) {
			got, err := Parse(in)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for in, want := range map[string]string{
		"":                                   "is empty",
		"./data":                             "local path",
		"wasbs://c@a/x":                      "not served",
		"http://example.org/x":               "not served",
		"azureml://datastores/d/paths/../x":  `segment ".."`,
		"azureml://datastores/d/paths/a//x":  `segment ""`,
		"azureml://datastores/d/paths/a/./x": `segment "."`,
		"azureml://datastores/d/paths//etc/passwd":               "must be relative",
		`azureml://datastores/d/paths/a\b`:                       "backslash",
		"azureml://datastores/d/paths/%2e%2e/x":                  "encoded",
		"azureml://datastores/d/x":                               "incomplete",
		"azureml://datastores/../paths/x":                        "incomplete",
		"azureml://registries/r/models/m":                        "registries are not available",
		"azureml://jobs/j":                                       "incomplete",
		"azureml://jobs/j/outputs/o/paths/../../k":               `segment ".."`,
		"azureml:iris":                                           "names no version",
		"azureml:iris@prod":                                      "the one label",
		"azureml:../x:1":                                         "names and versions",
		"azureml:" + wsKey + "/datastores/d":                     "is incomplete",
		"azureml:" + wsKey + "/datastores/d/paths/../x":          "..",
		"azureml:" + wsKey + "/computes/c":                       "names no version",
		"/subscriptions/s/resourceGroups/g/providers/X.Y/z/name": "not the id of an asset",
		"https://":                "must be https://",
		"https://u:p@host/x":      "without user name",
		"https://host/a/../b":     `segment ".."`,
		"https://host/%2e%2e/b":   `segment ".."`,
		"azureml:a\nb:1":          "control character",
		strings.Repeat("x", 2049): "2049 bytes long",
	} {
		t.Run(in, func(t *testing.T) {
			_, err := Parse(in)
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v; want %q in it", err, want)
			}
		})
	}
}

// FuzzParse looks for references that are accepted with a path that leaves its folder.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"azureml://datastores/d/paths/a", "azureml:iris:3", "azureml://jobs/j/outputs/o/paths/p", "https://h/p",
		"azureml://subscriptions/s/resourcegroups/g/workspaces/w/datastores/d/paths/x", wsKey + "/data/d/versions/1",
		"azureml://locations/l/workspaces/w/models/m/versions/1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := Parse(s)
		if err != nil {
			return
		}
		for _, part := range strings.Split(r.Path, "/") {
			if part == ".." || part == "." || strings.ContainsAny(part, "\\\x00") || strings.HasPrefix(r.Path, "/") {
				t.Fatalf("%q gives path %q", s, r.Path)
			}
		}
		for _, name := range []string{r.Name, r.Version, r.Output, r.Type} {
			if strings.ContainsAny(name, "/\\") || name == ".." || name == "." {
				t.Fatalf("%q gives name %q", s, name)
			}
		}
		if (r.Kind != HTTPS) != (r.Name != "") {
			t.Fatalf("%q gives %+v", s, r)
		}
	})
}
