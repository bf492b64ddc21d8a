package extension

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/link"
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
	if _, err := values(defaults, map[string]string{"enableTraining": "perhaps"}, nil); err == nil || !strings.Contains(err.Error(), "is not True or False") {
		t.Errorf("a wrong setting: %v", err)
	}
}

// TestUnknownSettings: what the control plane accepted and this agent does not know keeps no extension from working, and is told.
func TestUnknownSettings(t *testing.T) {
	plain := map[string]string{"enableTraining": "true", "newer.setting": "x"}
	if got, err := values(nil, plain, map[string]string{"newer.secret": "y"}); err != nil || got["newer"] != nil {
		t.Errorf("values %v, %v", got, err)
	}
	j := &job{ext: link.Extension{Settings: plain, ProtectedSettings: map[string]string{"newer.secret": "y"}}}
	if got := j.noted(); len(got) != 2 || got[0].Code != "SettingUnknown" || !strings.HasPrefix(got[1].Message, "newer.setting is not a setting of this agent's release") {
		t.Errorf("told %+v", got)
	}
}
