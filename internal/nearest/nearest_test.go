package nearest

import "testing"

func TestWord(t *testing.T) {
	known := []string{"enableTraining", "enableInference", "openshift"}
	for word, want := range map[string]string{
		"enableTraning": "enableTraining", "ENABLEINFERENCE": "enableInference", "opneshift": "openshift", "open-shift": "openshift", "nodes": "", "x": "", "": "",
	} {
		if got := Word(word, known); got != want {
			t.Errorf("%q is taken for %q, want %q", word, got, want)
		}
	}
}
