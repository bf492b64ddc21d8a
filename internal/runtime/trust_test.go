package runtime

import (
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/api/commonruntime"
)

func certificate(s *httptest.Server) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
}

// TestTrustsCustomCA fetches an input from a server that only the cluster's own CA verifies, as behind a proxy that opens TLS, and
// leads the command to all CAs.
func TestTrustsCustomCA(t *testing.T) {
	private := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "data") }))
	t.Cleanup(private.Close)
	p := newPod(t, `cat ${{inputs.x}}; echo; cat $SSL_CERT_FILE; test $SSL_CERT_FILE = $REQUESTS_CA_BUNDLE`)
	p.cfg.HTTP = nil
	p.cfg.PublicCAs = []string{"/nowhere/*.pem", filepath.Join(filepath.Dir(p.cfg.CAPath), "pub*.pem")}
	p.write(filepath.Join(filepath.Dir(p.cfg.CAPath), "public.pem"), "PUBLIC\n")
	p.spec.Inputs = map[string]commonruntime.Input{"x": {Type: "uri_file", URL: private.URL + "/x.csv"}}
	p.write(p.cfg.CustomCAPath, certificate(private))
	if r := p.run(t.Context()); r.ExitCode != 0 {
		t.Fatalf("result %+v", r)
	}
	want := "data\nPUBLIC\n\n" + certificate(private) + "\n"
	if diff := cmp.Diff(want, p.out.String()); diff != "" {
		t.Errorf("output (-want +got):\n%s", diff)
	}
}

func TestTrust(t *testing.T) {
	server := httptest.NewTLSServer(nil)
	t.Cleanup(server.Close)
	for name, tt := range map[string]struct {
		custom, public string
		environ        []string
		want           []string // of the two variables
		says           string
	}{
		"public CAs do":        {"", "PUBLIC", nil, []string{"", ""}, ""},
		"image has none":       {certificate(server), "", nil, []string{"bundle", ""}, ""},
		"image says otherwise": {certificate(server), "PUBLIC", []string{"SSL_CERT_FILE=/mine"}, []string{"/mine", "bundle"}, ""},
		"not a certificate":    {"hello", "PUBLIC", nil, nil, "holds no certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPod(t, `echo "$SSL_CERT_FILE,$REQUESTS_CA_BUNDLE"`)
			p.cfg.Environ = append(p.cfg.Environ, tt.environ...)
			public := filepath.Join(filepath.Dir(p.cfg.CAPath), "public.pem")
			p.cfg.PublicCAs = []string{public}
			p.write(public, tt.public)
			p.write(p.cfg.CustomCAPath, tt.custom)
			r := p.run(t.Context())
			if tt.says != "" {
				if r.Code != CodeSpecInvalid || !strings.Contains(r.Message, tt.says) {
					t.Errorf("result %+v lacks %q", r, tt.says)
				}
				return
			}
			got := strings.ReplaceAll(strings.TrimSpace(p.out.String()), filepath.Join(p.cfg.WorkDir, "ca-bundle.crt"), "bundle")
			if diff := cmp.Diff(strings.Join(tt.want, ","), got); diff != "" {
				t.Errorf("variables (-want +got):\n%s", diff)
			}
		})
	}
}
