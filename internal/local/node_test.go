//go:build linux

package local

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseNameservers(t *testing.T) {
	for text, want := range map[string][]string{
		"nameserver 192.0.2.53\nsearch x\nnameserver 192.0.2.54 # second\n":                {"192.0.2.53", "192.0.2.54"},
		"nameserver 127.0.0.53\noptions edns0\n":                                           nil,
		"nameserver fd00::1\nnameserver\nnameserver nonsense\n":                            nil,
		"nameserver 1.1.1.1\nnameserver 1.1.1.2\nnameserver 1.1.1.3\nnameserver 1.1.1.4\n": {"1.1.1.1", "1.1.1.2", "1.1.1.3"},
	} {
		if d := cmp.Diff(want, parseNameservers(text)); d != "" {
			t.Errorf("name servers of %q (-want +got):\n%s", text, d)
		}
	}
}

func TestParseImages(t *testing.T) {
	table := "REF TYPE DIGEST SIZE PLATFORMS LABELS\n" +
		"docker.io/fairlead/agent:dev application/vnd.oci.image.manifest.v1+json sha256:aa 1.0 MiB linux/amd64 pinned\n" +
		"garbage\n"
	want := map[string]string{"docker.io/fairlead/agent:dev": "sha256:aa"}
	if d := cmp.Diff(want, parseImages(table)); d != "" {
		t.Errorf("images (-want +got):\n%s", d)
	}
}

func FuzzParseNameservers(f *testing.F) {
	f.Add("nameserver 192.0.2.53\n")
	f.Fuzz(func(t *testing.T, s string) {
		if n := len(parseNameservers(s)); n > 3 {
			t.Errorf("%d name servers; the resolver takes three", n)
		}
		parseImages(s)
	})
}
