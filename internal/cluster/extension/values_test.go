package extension

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestValues(t *testing.T) {
	defaults := map[string]any{"image": map[string]any{"agent": "a:1", "runtime": "r:1"}, "linkSecret": "l"}
	got, err := values(defaults, map[string]string{"enableTraining": "true", "image.agent": "b:2", "nodeSelector.kubernetes.io/os": "linux"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{
		"image": map[string]any{"agent": "b:2", "runtime": "r:1"}, "linkSecret": "l", "enableTraining": "True", "enableInference": "False",
		"nodeSelector": map[string]any{"kubernetes.io/os": "linux"},
	} {
		if diff := cmp.Diff(want, got[name]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if diff := cmp.Diff(map[string]any{"image": map[string]any{"agent": "a:1", "runtime": "r:1"}, "linkSecret": "l"}, defaults); diff != "" {
		t.Errorf("the defaults were changed:\n%s", diff)
	}
	if _, err := values(defaults, map[string]string{"enableTraining": "true", "enableTrainin": "true"}, nil); err == nil || !strings.Contains(err.Error(), `did you mean "enableTraining"?`) {
		t.Errorf("an unknown setting: %v", err)
	}
}
