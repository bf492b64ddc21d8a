package metrics

import "testing"

// TestKeysOfMadeUpLabels: a sample with a key that is none has the control plane refuse all that come with it.
func TestKeysOfMadeUpLabels(t *testing.T) {
	for labels, want := range map[[2]string]string{
		{"Digits", "Blue"}: "deployment/digits/blue", {"A_B", "blue"}: "", {"digits", "x"}: "", {"", "blue"}: "", {"digits", "../other"}: "",
	} {
		if got := deploymentKey(map[string]string{"endpoint": labels[0], "deployment": labels[1]}); got != want {
			t.Errorf("%v is %q, want %q", labels, got, want)
		}
	}
	if got := endpointKey(map[string]string{"endpoint": "a b"}); got != "" {
		t.Errorf("made-up endpoint is %q", got)
	}
}
