package cli

import (
	"context"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

func testRoot() *cobra.Command { return New(Deps{Env: func(string) string { return "" }}) }

func TestEveryCommandHasHelp(t *testing.T) {
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Short == "" {
			t.Errorf("%s has no description", c.CommandPath())
		}
		if !c.HasSubCommands() && c.Example == "" {
			t.Errorf("%s has no example", c.CommandPath())
		}
		for _, s := range c.Commands() {
			if s.Name() != "help" {
				walk(s)
			}
		}
	}
	walk(testRoot())
}

func TestExpandArgs(t *testing.T) {
	for name, tc := range map[string]struct{ in, want, notes string }{
		"several values": {"k8s-extension create --config a=b c=d --name x", "k8s-extension create --config a=b --config c=d --name x", ""},
		"repeated":       {"k8s-extension create --config a=b --config c=d", "k8s-extension create --config a=b --config c=d", ""},
		"with equals":    {"k8s-extension create --config=a=b c=d", "k8s-extension create --config a=b --config c=d", ""},
		"no value":       {"group create --tags --name x", "group create --tags= --name x", ""},
		"at the end":     {"group create -n x --tags a=b c", "group create -n x --tags a=b --tags c", ""},
		"glued flag": {"k8s-extension create --config-protected k=f--resource-group G --scope cluster",
			"k8s-extension create --config-protected k=f --resource-group G --scope cluster", `reading "k=f--resource-group" as "k=f" and "--resource-group"`},
		"dashes in a value": {"k8s-extension create --config a=b--c", "k8s-extension create --config a=b--c", ""},
		"single flags":      {"ml job show -n x -g G", "ml job show -n x -g G", ""},
		"after --":          {"rest --headers a=b -- c", "rest --headers a=b -- c", ""},
	} {
		t.Run(name, func(t *testing.T) {
			out, notes := ExpandArgs(testRoot(), strings.Fields(tc.in))
			if diff := cmp.Diff(tc.want, strings.Join(out, " ")); diff != "" {
				t.Error(diff)
			}
			if got := strings.Join(notes, "\n"); got != tc.notes {
				t.Errorf("notes %q, want %q", got, tc.notes)
			}
		})
	}
}

func TestGenerateName(t *testing.T) {
	rule := regexp.MustCompile(`^[a-z]+_[a-z]+_[a-z0-9]{10}$`)
	a, b := generateName(), generateName()
	if !rule.MatchString(a) || a == b {
		t.Errorf("%s, %s", a, b)
	}
}

func TestWithoutCredentials(t *testing.T) {
	for in, want := range map[string]string{
		"https://user:token@host/r.git": "https://host/r.git", "git@host:r.git": "git@host:r.git", "https://host/r": "https://host/r",
	} {
		if got := withoutCredentials(in); got != want {
			t.Errorf("%s: %s", in, got)
		}
	}
}

func TestDetect(t *testing.T) {
	node := func(provider string, labels ...string) nodeFacts {
		var n nodeFacts
		n.Spec.ProviderID = provider
		n.Metadata.Labels = map[string]string{}
		for _, l := range labels {
			n.Metadata.Labels[l] = ""
		}
		return n
	}
	for name, tc := range map[string]struct {
		version   string
		openshift bool
		nodes     []nodeFacts
		want      ClusterFacts
	}{
		"k3s":       {"v1.36.3+k3s1", false, nil, ClusterFacts{Version: "1.36.3+k3s1", Distribution: "k3s", Infrastructure: "generic"}},
		"kind":      {"v1.36.3", false, []nodeFacts{node("kind://docker/kind/x")}, ClusterFacts{Version: "1.36.3", Distribution: "kind", Infrastructure: "generic"}},
		"aks":       {"v1.36.3", false, []nodeFacts{node("azure:///x", "kubernetes.azure.com/role")}, ClusterFacts{Version: "1.36.3", Distribution: "aks", Infrastructure: "azure"}},
		"openshift": {"v1.36.3", true, []nodeFacts{node("aws:///x")}, ClusterFacts{Version: "1.36.3", Distribution: "openshift", Infrastructure: "aws"}},
		"plain":     {"v1.36.3", false, nil, ClusterFacts{Version: "1.36.3", Distribution: "generic", Infrastructure: "generic"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, detect(tc.version, tc.openshift, tc.nodes)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestISODuration(t *testing.T) {
	for in, want := range map[string]int64{"PT300S": 300, "PT5M": 300, "PT1H1S": 3601, "P1DT1H": 90000} {
		if got, ok := parseISODuration(in); !ok || got != want {
			t.Errorf("%s: %d", in, got)
		}
	}
	if _, ok := parseISODuration("five minutes"); ok {
		t.Error("nonsense was read as a duration")
	}
}

// TestDependencies keeps the command line light: no Helm, no SQL driver, no controller-runtime.
func TestDependencies(t *testing.T) {
	out, err := exec.CommandContext(context.Background(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, pkg := range strings.Fields(string(out)) {
		for _, bad := range []string{"helm.sh/", "modernc.org/sqlite", "github.com/jackc/pgx", "sigs.k8s.io/controller-runtime", "fairlead.dev/fairlead/internal/controlplane"} {
			if strings.HasPrefix(pkg, bad) {
				t.Errorf("cli depends on %s", pkg)
			}
		}
	}
}
