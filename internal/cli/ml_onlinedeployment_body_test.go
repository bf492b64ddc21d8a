package cli

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/cli/spec"
)

// TestRequestSettings: what is 0 is said, what is not given is not.
func TestRequestSettings(t *testing.T) {
	none := int64(0)
	got := deploymentProps(&spec.OnlineDeployment{Requests: spec.RequestSettings{QueueWaitMS: &none}})["requestSettings"]
	if d := cmp.Diff(map[string]any{"maxQueueWait": "PT0S"}, got); d != "" {
		t.Error(d)
	}
}

func TestScaleOf(t *testing.T) {
	type m = map[string]any
	one := m{"scaleType": "TargetUtilization", "minInstances": 1.0, "maxInstances": 1.0}
	some := m{"scaleType": "TargetUtilization", "minInstances": 0.0, "maxInstances": 4.0}
	fixed := m{"scaleType": "Default"}
	for name, c := range map[string]struct {
		old, given m
		counted    bool
		want       m
		err        string
	}{
		"nothing":                      {some, m{}, false, nil, ""},
		"a number":                     {fixed, m{}, true, nil, ""},
		"a number for one pod":         {one, m{}, true, fixed, ""},
		"a number for some":            {some, m{}, true, nil, "the deployment scales by itself from 0 to 4 instances"},
		"a number and its type":        {some, fixed, true, fixed, ""},
		"bounds":                       {some, m{"maxInstances": 5}, false, nil, ""},
		"bounds for what has a number": {fixed, m{"maxInstances": 5}, false, m{"scaleType": "TargetUtilization", "maxInstances": 5}, ""},
	} {
		got, err := scaleOf(c.old, c.given, c.counted)
		if d := cmp.Diff(c.want, got); d != "" || (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}
