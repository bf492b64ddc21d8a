package release

import "testing"

func TestImages(t *testing.T) {
	defer func(v string) { Version = v }(Version)
	for version, want := range map[string]string{"": "fairlead/agent:dev", "1.2.3": "fairlead/agent:1.2.3"} {
		if Version = version; AgentImage() != want {
			t.Errorf("image of the agent of release %q is %s, want %s", version, AgentImage(), want)
		}
	}
}

func TestIsOf(t *testing.T) {
	for image, want := range map[string]bool{
		"fairlead/agent": true, "fairlead/agent:dev": true, "docker.io/fairlead/agent@sha256:00": true,
		"fairlead/agent-debug:dev": false, "registry.example/fairlead/agent:dev": false, "": false,
	} {
		if IsOf(image, AgentRepository) != want {
			t.Errorf("IsOf(%q) = %v", image, !want)
		}
	}
}
