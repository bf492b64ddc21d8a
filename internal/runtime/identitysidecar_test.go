package runtime

import (
	"strings"
	"testing"
)

const goodIdentity = `{"identity":{"clientId":"c","principalId":"p","tokenUrl":"https://fl.example/t/oauth2/v2.0/token"},"ca":"CA","proxy":"http://proxy.azureml.svc:9999"}`

func TestParseIdentity(t *testing.T) {
	if s, err := ParseIdentity([]byte(goodIdentity)); err != nil || s.Identity.ClientID != "c" || s.Proxy != "http://proxy.azureml.svc:9999" {
		t.Errorf("%+v, %v", s, err)
	}
	for name, c := range map[string][2]string{
		"nothing":      {"", "FAIRLEAD_IDENTITY"},
		"no URL":       {strings.Replace(goodIdentity, "https:", "ftp:", 1), `tokenUrl is "ftp://fl.example`},
		"no proxy":     {strings.Replace(goodIdentity, "http://proxy.azureml.svc:9999", "", 1), "proxy is"},
		"nobody":       {strings.Replace(goodIdentity, `"c"`, `""`, 1), "clientId"},
		"another file": {`[]`, "FAIRLEAD_IDENTITY"},
	} {
		if _, err := ParseIdentity([]byte(c[0])); err == nil || !strings.Contains(err.Error(), c[1]) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParseIdentity(f *testing.F) {
	f.Add([]byte(goodIdentity))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := ParseIdentity(b); err == nil && (s.Identity.ClientID == "" || s.Proxy == "") {
			t.Errorf("%q is accepted as %+v", b, s)
		}
	})
}
