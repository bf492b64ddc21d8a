package kubeconfig

import (
	"encoding/base64"
	"strings"
	"testing"
)

const good = `apiVersion: v1
kind: Config
current-context: b
contexts: [{name: a, context: {cluster: x, user: x}}, {name: b, context: {cluster: c, user: u, namespace: ns}}]
clusters: [{name: x, cluster: {server: "https://other"}}, {name: c, cluster: {server: "https://kube.example.com:6443", certificate-authority-data: Q0E=}}]
users: [{name: x, user: {token: OTHERSECRET}}, {name: u, user: {token: SECRET}}]
`

func TestParse(t *testing.T) {
	for _, text := range []string{good, base64.StdEncoding.EncodeToString([]byte(good))} {
		c, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if c.Server != "https://kube.example.com:6443" || c.Host() != "kube.example.com:6443" || strings.Contains(string(c.Text), "OTHER") || !strings.Contains(string(c.Text), "token: SECRET") {
			t.Errorf("%s at %s:\n%s", c.Host(), c.Server, c.Text)
		}
		if again, err := Parse(string(c.Text)); err != nil || string(again.Text) != string(c.Text) {
			t.Errorf("%v\n%s", err, again.Text)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for name, c := range map[string]struct{ old, new, text string }{
		"no YAML":       {good, "{", "is not a kubeconfig"},
		"empty":         {good, "", "has no context"},
		"no context":    {"current-context: b", "current-context: z", `has no context "z"`},
		"no user":       {"user: u", "user: v", `or its user "v"`},
		"http":          {"https://kube", "http://kube", "only https"},
		"password":      {"https://kube", "https://u:p@kube", "no address such as"},
		"insecure":      {"certificate-authority-data: Q0E=", "insecure-skip-tls-verify: true", "insecure-skip-tls-verify"},
		"CA file":       {"certificate-authority-data: Q0E=", "certificate-authority: /etc/ca.crt", `names the file "/etc/ca.crt"`},
		"proxy":         {"certificate-authority-data: Q0E=", "proxy-url: http://p", "proxy-url"},
		"program":       {"token: SECRET", "exec: {apiVersion: client.authentication.k8s.io/v1, command: aws}", `the program "aws"`},
		"auth-provider": {"token: SECRET", "auth-provider: {name: gcp}", `auth-provider "gcp"`},
		"key file":      {"token: SECRET", "client-key: /root/key", "names files (/root/key)"},
		"token file":    {"token: SECRET", "tokenFile: /root/token", "names files (/root/token)"},
		"impersonation": {"token: SECRET", "{token: SECRET, as: system:admin}", "impersonates"},
		"anonymous":     {"{token: SECRET}", "{}", "has no credentials"},
		"too long":      {good, strings.Repeat("x", MaxBytes+1), "at most"},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(good, c.old, c.new, 1)
			if name == "impersonation" {
				text = strings.Replace(good, "{token: SECRET}", c.new, 1)
			}
			_, err := Parse(text)
			if err == nil || !strings.Contains(err.Error(), c.text) || strings.Contains(err.Error(), "SECRET") {
				t.Errorf("error %v; want %q in it", err, c.text)
			}
		})
	}
}

// FuzzParse: what is accepted is accepted again as it was written, and names nothing of this machine.
func FuzzParse(f *testing.F) {
	f.Add(good)
	f.Add(base64.StdEncoding.EncodeToString([]byte(good)))
	f.Add("{}")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Parse(text)
		if err != nil {
			return
		}
		again, err := Parse(string(c.Text))
		if err != nil || string(again.Text) != string(c.Text) || !strings.HasPrefix(c.Server, "https:") && !strings.HasPrefix(strings.ToLower(c.Server), "https:") {
			t.Errorf("%v: %q from %q", err, again.Text, text)
		}
		for _, word := range []string{"exec:", "client-key:", "tokenFile:", "certificate-authority:", "proxy-url:"} {
			if strings.Contains(string(c.Text), "\n    "+word) {
				t.Errorf("%s in %q", word, c.Text)
			}
		}
	})
}
