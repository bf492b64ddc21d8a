package controlplane

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/uuid"
	"github.com/spf13/pflag"

	"fairlead.dev/fairlead/internal/controlplane/issuer"
)

const publicURL = "https://fairlead.test:8443"

// running is a control plane and a client that trusts it.
type running struct {
	t      *testing.T
	client *http.Client
	admin  Admin
	stop   func()
}

func start(t *testing.T, dir string) *running {
	t.Helper()
	return startWith(t, Config{DataDir: dir})
}

func startWith(t *testing.T, cfg Config) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	bound, done := make(chan string, 1), make(chan error, 1)
	cfg.Listen, cfg.PublicURL, cfg.LogLevel = []string{"127.0.0.1:0"}, publicURL, "error"
	cfg.listening = func(a []net.Addr) { bound <- a[0].String() }
	go func() { done <- Run(ctx, cfg) }()
	var addr string
	select {
	case addr = <-bound:
	case err := <-done:
		t.Fatalf("Run: %v", err)
	}
	r := dial(t, cfg.DataDir, addr)
	stopped, end := false, r.stop
	r.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		end()
		if err := <-done; err != nil {
			t.Errorf("Run ended with %v", err)
		}
	}
	t.Cleanup(r.stop)
	return r
}

// dial makes the client of a control plane that listens on addr; its stop closes idle connections.
func dial(t *testing.T, dir, addr string) *running {
	t.Helper()
	r := &running{t: t}
	raw, err := os.ReadFile(filepath.Join(dir, AdminFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &r.admin); err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(r.admin.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		}}
	r.client = &http.Client{Transport: tr}
	r.stop = tr.CloseIdleConnections
	return r
}

func (r *running) do(method, path, token, body string) (int, map[string]any) {
	r.t.Helper()
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	req, err := http.NewRequestWithContext(r.t.Context(), method, publicURL+path+sep+"api-version=2024-01-01", strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	return r.send(req)
}

func (r *running) send(req *http.Request) (int, map[string]any) {
	r.t.Helper()
	res, err := r.client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	var m map[string]any
	if len(bytes.TrimSpace(raw)) > 0 {
		if err := json.Unmarshal(raw, &m); err != nil {
			r.t.Fatalf("%s %s: %v\n%s", req.Method, req.URL, err, raw)
		}
	}
	return res.StatusCode, m
}

func (r *running) token(form url.Values) (int, map[string]any) {
	r.t.Helper()
	form.Set("grant_type", "client_credentials")
	req, err := http.NewRequestWithContext(r.t.Context(), "POST", publicURL+"/"+r.admin.TenantID+"/oauth2/v2.0/token", strings.NewReader(form.Encode()))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r.send(req)
}

func (r *running) adminToken() string {
	r.t.Helper()
	status, m := r.token(url.Values{"client_id": {r.admin.ClientID}, "client_secret": {r.admin.ClientSecret}, "scope": {publicURL + "/.default"}})
	if status != 200 {
		r.t.Fatalf("token: %d %v", status, m)
	}
	return m["access_token"].(string)
}

func (r *running) must(want int, method, path, token, body string) map[string]any {
	r.t.Helper()
	status, m := r.do(method, path, token, body)
	if status != want {
		r.t.Fatalf("%s %s: status %d, want %d: %v", method, path, status, want, m)
	}
	return m
}

func assertion(t *testing.T, key *rsa.PrivateKey, clientID, tenantID string) string {
	t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	tok, err := jwt.Signed(s).Claims(jwt.Claims{Issuer: clientID, Subject: clientID, ID: uuid.NewString(), Audience: jwt.Audience{publicURL + "/" + tenantID + "/oauth2/v2.0/token"},
		IssuedAt: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(5 * time.Minute))}).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func TestFromFirstStartToAnAgentsToken(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	r := start(t, dir)
	if fi, err := os.Stat(filepath.Join(dir, AdminFile)); err != nil || fi.Mode().Perm() != 0o600 {
		t.Fatalf("%s: %v, %v", AdminFile, fi.Mode(), err)
	}
	tok := r.adminToken()
	subs := r.must(200, "GET", "/subscriptions", tok, "")["value"].([]any)
	if len(subs) != 1 || subs[0].(map[string]any)["displayName"] != "Local" {
		t.Fatalf("subscriptions: %v", subs)
	}
	group := "/subscriptions/" + r.admin.SubscriptionID + "/resourceGroups/rg"
	r.must(201, "PUT", group, tok, `{"location":"local"}`)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	public := base64.StdEncoding.EncodeToString(x509.MarshalPKCS1PublicKey(&key.PublicKey))
	clusters := group + "/providers/Microsoft.Kubernetes/connectedClusters/"
	for _, name := range []string{"one", "two"} {
		r.must(201, "PUT", clusters+name, tok, `{"location":"local","properties":{"agentPublicKeyCertificate":"`+public+`"}}`)
	}
	one := clusters + "one"
	for kind, scope := range map[string]string{"Agent": publicURL + "/.default", "Extension": "extension"} {
		status, m := r.token(url.Values{"client_assertion_type": {issuer.AssertionType}, "client_assertion": {assertion(t, key, one, r.admin.TenantID)}, "scope": {scope}})
		if status != 200 {
			t.Fatalf("%s token: %d %v", kind, status, m)
		}
		agent := m["access_token"].(string)
		r.must(200, "GET", one, agent, "")
		r.must(403, "GET", clusters+"two", agent, "")
		r.must(403, "GET", group, agent, "")
		r.must(403, "PUT", one, agent, `{}`)
		if status, _ := r.do("POST", "/link/v1/observed", agent, `{"values":[]}`); status != 204 {
			t.Errorf("%s posts observed values: %d", kind, status)
		}
	}
	if status, m := r.token(url.Values{"client_assertion_type": {issuer.AssertionType}, "client_assertion": {assertion(t, key, clusters+"three", r.admin.TenantID)}}); status != 401 {
		t.Errorf("token for a cluster that does not exist: %d %v", status, m)
	}
	r.stop()
	r = start(t, dir)
	r.must(200, "GET", one, r.adminToken(), "")
	r.must(200, "GET", one, tok, "") // tokens outlive a restart
	if status, _ := r.do("GET", "/readyz", "", ""); status != 200 {
		t.Errorf("readyz: %d", status)
	}
}

func TestShutdownEndsStreams(t *testing.T) {
	r := start(t, filepath.Join(t.TempDir(), "data"))
	tok := r.adminToken()
	group := "/subscriptions/" + r.admin.SubscriptionID + "/resourceGroups/rg"
	r.must(201, "PUT", group, tok, `{}`)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	one := group + "/providers/Microsoft.Kubernetes/connectedClusters/one"
	r.must(201, "PUT", one, tok, `{"properties":{"agentPublicKeyCertificate":"`+base64.StdEncoding.EncodeToString(x509.MarshalPKCS1PublicKey(&key.PublicKey))+`"}}`)
	_, m := r.token(url.Values{"client_assertion_type": {issuer.AssertionType}, "client_assertion": {assertion(t, key, one, r.admin.TenantID)}})
	req, err := http.NewRequestWithContext(t.Context(), "GET", publicURL+"/link/v1/desired", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+m["access_token"].(string))
	res, err := r.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != 200 {
		t.Fatalf("desired: %d", res.StatusCode)
	}
	if _, err := io.ReadFull(res.Body, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	r.stop()
	if took := time.Since(begin); took > shutdownTimeout/2 {
		t.Errorf("shutdown took %s with one stream open", took)
	}
}

func TestConfig(t *testing.T) {
	var c Config
	fs := pflag.NewFlagSet("server", pflag.ContinueOnError)
	c.Bind(fs)
	if err := fs.Parse([]string{"--log-format", "json"}); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"FAIRLEAD_LISTEN": "0.0.0.0:9443,127.0.0.1:9444", "FAIRLEAD_LOG_FORMAT": "text", "FAIRLEAD_DATA_DIR": "/data"}
	if err := c.FromEnv(func(k string) (string, bool) { v, ok := env[k]; return v, ok }); err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	if len(c.Listen) != 2 || c.PublicURL != "https://localhost:9443" || c.LogFormat != "json" || c.Blobs != "/data/blobs" {
		t.Errorf("config %+v", c)
	}
	for name, bad := range map[string]Config{
		"store":  {DataDir: "d", Listen: []string{":1"}, Store: "mysql://u:secret@h/d"},
		"listen": {DataDir: "d", Listen: []string{"nonsense"}},
		"url":    {DataDir: "d", Listen: []string{":1"}, PublicURL: "host:1"},
		"tls":    {DataDir: "d", Listen: []string{":1"}, TLSCert: "x"},
		"suffix": {DataDir: "d", Listen: []string{":1"}, StorageSuffix: "10.0.0.1:8443"},
		"keys":   {DataDir: "d", Listen: []string{":1"}, SigningKeyAge: time.Hour},
		"level":  {DataDir: "d", Listen: []string{":1"}, LogLevel: "loud"},
	} {
		err := bad.Validate()
		if err == nil || !strings.Contains(err.Error(), "--") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDefaultSuffix(t *testing.T) {
	for public, want := range map[string]string{
		"https://Fairlead.example:8443": "fairlead.example:8443",
		"https://localhost:8443":        "localhost:8443",
		"https://10.91.0.1:8443":        "localhost:8443",
		"https://[2001:db8::1]":         "localhost",
	} {
		if got := defaultSuffix(public); got != want {
			t.Errorf("%s: %q, want %q", public, got, want)
		}
	}
}

// TestWorkspaceOverTheWire goes through the real types once: what they write, the server shows, and a group takes all with it.
func TestWorkspaceOverTheWire(t *testing.T) {
	r := start(t, filepath.Join(t.TempDir(), "data"))
	tok := r.adminToken()
	group := "/subscriptions/" + r.admin.SubscriptionID + "/resourceGroups/rg"
	r.must(201, "PUT", group, tok, `{}`)
	ws := group + "/providers/Microsoft.MachineLearningServices/workspaces/ws1"
	made := r.must(201, "PUT", ws, tok, `{"location":"local","properties":{}}`)
	if p := made["properties"].(map[string]any); p["provisioningState"] != "Succeeded" || p["discoveryUrl"] == nil {
		t.Errorf("workspace: %v", made)
	}
	if stores := r.must(200, "GET", ws+"/datastores?isDefault=true", tok, "")["value"].([]any); len(stores) != 1 {
		t.Errorf("default datastores: %v", stores)
	}
	up := r.must(200, "POST", ws+"/codes/c/versions/1/startPendingUpload", tok, `{"pendingUploadType":"TemporaryBlobReference"}`)
	ref := up["blobReferenceForConsumption"].(map[string]any)
	sas, err := url.Parse(ref["credential"].(map[string]any)["sasUri"].(string))
	if err != nil {
		t.Fatal(err)
	}
	blobURL := *sas
	blobURL.Path += "/train.py"
	req, err := http.NewRequestWithContext(t.Context(), "PUT", blobURL.String(), strings.NewReader("print(1)"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("x-ms-blob-type", "BlockBlob")
	if status, m := r.send(req); status != 201 {
		t.Fatalf("upload: %d %v", status, m)
	}
	r.must(201, "PUT", ws+"/codes/c/versions/1", tok, `{"properties":{"codeUri":"`+ref["blobUri"].(string)+`"}}`)
	r.must(201, "PUT", ws+"/environments/e/versions/3", tok, `{"properties":{"image":"docker.io/library/python:3"}}`)
	if p := r.must(200, "GET", ws+"/environments/e", tok, "")["properties"].(map[string]any); p["latestVersion"] != "3" || p["nextVersion"] != "4" {
		t.Errorf("environment container: %v", p)
	}
	status, m := r.do("PUT", ws+"/jobs/j1", tok, `{"properties":{"jobType":"Command","command":"true","environmentId":"`+ws+`/environments/e/versions/3","computeId":"`+ws+`/computes/none"}}`)
	if status < 400 || status >= 500 || !strings.Contains(m["error"].(map[string]any)["message"].(string), "none") {
		t.Errorf("job on an absent compute: %d %v", status, m)
	}
	req, err = http.NewRequestWithContext(t.Context(), "DELETE", publicURL+group+"?api-version=2021-04-01", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+tok)
	res, err := r.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	op, err := url.Parse(res.Header.Get("Azure-AsyncOperation"))
	if err != nil || res.StatusCode != 202 {
		t.Fatalf("DELETE of the group: %d %v", res.StatusCode, err)
	}
	for status := ""; status != "Succeeded"; {
		body := r.must(200, "GET", op.Path, tok, "")
		if status, _ = body["status"].(string); status != "Deleting" && status != "Succeeded" {
			t.Fatalf("operation: %v", body)
		}
	}
	r.must(404, "GET", ws, tok, "")
	r.must(404, "GET", group, tok, "")
}
