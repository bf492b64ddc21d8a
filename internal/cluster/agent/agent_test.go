package agent

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"fairlead.dev/fairlead/internal/cluster/component"
	"fairlead.dev/fairlead/internal/link"
	"fairlead.dev/fairlead/internal/testing/kubetest"
)

const clusterID = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Kubernetes/connectedClusters/c"

func newKey(t testing.TB) (*rsa.PrivateKey, []byte) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// controlPlane issues tokens to whoever holds the key, desires one extension and keeps what it is told.
type controlPlane struct {
	*httptest.Server
	key *rsa.PublicKey

	mu       sync.Mutex
	scopes   []string
	refused  string // a token whose signing key is gone
	observed chan link.Value
}

func newControlPlane(t *testing.T, key *rsa.PublicKey) *controlPlane {
	t.Helper()
	p := &controlPlane{key: key, observed: make(chan link.Value, 1000)}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /tenant/oauth2/v2.0/token", p.token)
	mux.HandleFunc("GET "+link.DesiredPath, p.desired)
	mux.HandleFunc("POST "+link.ObservedPath, p.observe)
	p.Server = httptest.NewTLSServer(mux)
	t.Cleanup(p.Close)
	return p
}

func (p *controlPlane) ca() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Certificate().Raw})
}

func (p *controlPlane) token(w http.ResponseWriter, r *http.Request) {
	if err := p.check(r); err != nil {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprintf(w, `{"error":"invalid_client","error_description":%q}`, err.Error())
		return
	}
	p.mu.Lock()
	p.scopes = append(p.scopes, r.PostFormValue("scope"))
	n := len(p.scopes)
	p.mu.Unlock()
	fmt.Fprintf(w, `{"token_type":"Bearer","expires_in":3600,"access_token":"token-%d"}`, n)
}

func (p *controlPlane) check(r *http.Request) error {
	if r.PostFormValue("client_id") != clusterID || r.PostFormValue("grant_type") != "client_credentials" || r.PostFormValue("client_assertion_type") != assertionType {
		return fmt.Errorf("form %v", r.PostForm)
	}
	parsed, err := jwt.ParseSigned(r.PostFormValue("client_assertion"), []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return err
	}
	var claims jwt.Claims
	if err := parsed.Claims(p.key, &claims); err != nil {
		return err
	}
	if claims.ID == "" || claims.Expiry.Time().Sub(claims.IssuedAt.Time()) != assertionLife {
		return fmt.Errorf("claims %+v", claims)
	}
	return claims.Validate(jwt.Expected{Issuer: clusterID, Subject: clusterID, AnyAudience: jwt.Audience{p.URL + "/tenant/oauth2/v2.0/token"}, Time: time.Now()})
}

func (p *controlPlane) desired(w http.ResponseWriter, r *http.Request) {
	if p.refused != "" && r.Header.Get("Authorization") == "Bearer "+p.refused {
		http.Error(w, "signed by a key that this server does not have", http.StatusUnauthorized)
		return
	}
	enc := json.NewEncoder(w)
	value, _ := json.Marshal(link.Extension{Name: "arcml", ExtensionType: "microsoft.azureml.kubernetes", ReleaseNamespace: "azureml", Generation: 1,
		Settings: map[string]string{"enableTraining": "True"}})
	for _, e := range []link.Event{{Type: link.EventReset}, {Type: link.EventPut, Key: "extension/arcml", Value: value}, {Type: link.EventBookmark, Seq: 1}} {
		_ = enc.Encode(e)
	}
	_ = http.NewResponseController(w).Flush()
	<-r.Context().Done()
}

func (p *controlPlane) observe(w http.ResponseWriter, r *http.Request) {
	var body link.ObservedRequest
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer token-") {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	for _, v := range body.Values {
		p.observed <- v
	}
	w.WriteHeader(http.StatusNoContent)
}

func (p *controlPlane) await(t *testing.T, key string, ok func(json.RawMessage) bool) {
	t.Helper()
	timeout := time.After(time.Minute)
	for {
		select {
		case v := <-p.observed:
			if v.Key == key && ok(v.Value) {
				return
			}
		case <-timeout:
			t.Fatalf("%s was not observed", key)
		}
	}
}

func TestRun(t *testing.T) {
	key, keyPEM := newKey(t)
	plane := newControlPlane(t, &key.PublicKey)
	cluster := kubetest.Start(t)
	kube := kubernetes.NewForConfigOrDie(cluster.Config)
	if _, err := kube.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: Namespace}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	kubetest.AddNode(t, kube, "n1")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := Run(ctx, Config{
			Kube: cluster.Config, Endpoint: plane.URL, Tenant: "tenant", ClusterID: clusterID, CA: plane.ca(), PrivateKeyPEM: keyPEM,
			AgentImage: "fairlead/agent:test", RuntimeImage: "fairlead/runtime:test", Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Run ended with %v", err)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })

	plane.await(t, link.KeyCluster, func(raw json.RawMessage) bool {
		var s link.ClusterStatus
		return json.Unmarshal(raw, &s) == nil && s.AgentVersion == Version && s.KubernetesVersion != ""
	})
	plane.await(t, link.PrefixExtension+"arcml", func(raw json.RawMessage) bool {
		var s link.ExtensionStatus
		return json.Unmarshal(raw, &s) == nil && s.State == link.ExtensionPending && strings.HasPrefix(s.Message, "waiting for ") && strings.Contains(s.Message, "Deployment gateway")
	})
	secret, err := kube.CoreV1().Secrets("azureml").Get(t.Context(), component.LinkSecret, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := string(secret.Data[component.KeyEndpoint]); got != plane.URL || len(secret.Data[component.KeyCA]) == 0 || !strings.HasPrefix(string(secret.Data[component.KeyToken]), "token-") {
		t.Errorf("secret %q", secret.Data)
	}
	d, err := kube.AppsV1().Deployments("azureml").Get(t.Context(), "gateway", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := d.Spec.Template.Spec.Containers[0].Image; got != "fairlead/agent:test" {
		t.Errorf("the gateway's image is %q", got)
	}
}

func TestIssuerRenewsAtHalfLife(t *testing.T) {
	key, _ := newKey(t)
	plane := newControlPlane(t, &key.PublicKey)
	now := time.Now()
	issuer, err := NewIssuer(plane.URL+"/", "tenant", clusterID, key, plane.ca(), func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		after time.Duration
		want  string
	}{{0, "token-1"}, {29 * time.Minute, "token-1"}, {2 * time.Minute, "token-2"}} {
		now = now.Add(c.after)
		// The server checks assertions by the real clock, so the assertion's own must not drift with the test's.
		issuer.clock = clockOnce(now)
		if got, err := issuer.Token(t.Context()); err != nil || got != c.want {
			t.Errorf("after %s: %q, %v, want %q", c.after, got, err, c.want)
		}
	}
	if diff := cmp.Diff([]string{plane.URL + "/.default", plane.URL + "/.default"}, plane.scopes); diff != "" {
		t.Error(diff)
	}
}

// clockOnce tells the given time to its first caller and the real one to later callers.
func clockOnce(first time.Time) func() time.Time {
	asked := false
	return func() time.Time {
		if asked {
			return time.Now()
		}
		asked = true
		return first
	}
}

func TestIssuerSaysWhatTheServerSaid(t *testing.T) {
	key, _ := newKey(t)
	other, _ := newKey(t)
	plane := newControlPlane(t, &other.PublicKey)
	issuer, err := NewIssuer(plane.URL, "tenant", clusterID, key, plane.ca(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := issuer.Token(t.Context()); err == nil || !strings.Contains(err.Error(), "401 Unauthorized: invalid_client") {
		t.Errorf("error %v", err)
	}
}

// TestRefusedToken: a token that the control plane takes no more is not kept until half of its life is over.
func TestRefusedToken(t *testing.T) {
	key, _ := newKey(t)
	plane := newControlPlane(t, &key.PublicKey)
	plane.refused = "token-1"
	issuer, err := NewIssuer(plane.URL, "tenant", clusterID, key, plane.ca(), nil)
	if err != nil {
		t.Fatal(err)
	}
	broker := &Broker{}
	broker.renewed.Store("azureml", true)
	client, err := newClient(Config{Endpoint: plane.URL, CA: plane.ca()}, issuer, broker)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err = client.Follow(ctx, link.PrefixExtension, func(context.Context, link.Event) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("following with a new token: %v", err)
	}
	if got, err := issuer.Token(t.Context()); err != nil || got != "token-2" {
		t.Errorf("token %q, %v, want token-2", got, err)
	}
	if _, kept := broker.renewed.Load("azureml"); kept {
		t.Error("the extensions' tokens, signed with the same key, are trusted")
	}
	if issuer.Forget("token-1") {
		t.Error("forgot a newer token than the refused one")
	}
}

func TestDescribe(t *testing.T) {
	node := func(provider string, labels map[string]string) corev1.Node {
		return corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.NodeSpec{ProviderID: provider},
			Status: corev1.NodeStatus{Capacity: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("4")}},
		}
	}
	cases := map[string]struct {
		version string
		nodes   []corev1.Node
		want    link.ClusterStatus
	}{
		"empty": {"v1.36.0", nil, link.ClusterStatus{KubernetesVersion: "1.36.0", Distribution: "generic", Infrastructure: "generic"}},
		"k3s":   {"v1.33.1+k3s1", []corev1.Node{node("k3s://a", nil), node("k3s://b", nil)}, link.ClusterStatus{KubernetesVersion: "1.33.1+k3s1", Distribution: "k3s", Infrastructure: "generic", TotalNodeCount: 2, TotalCoreCount: 8}},
		"aks":   {"v1.33.1", []corev1.Node{node("azure:///x", map[string]string{"kubernetes.azure.com/cluster": "y"})}, link.ClusterStatus{KubernetesVersion: "1.33.1", Distribution: "aks", Infrastructure: "azure", TotalNodeCount: 1, TotalCoreCount: 4}},
		"eks":   {"v1.33.1-eks-abc", []corev1.Node{node("aws:///x", nil)}, link.ClusterStatus{KubernetesVersion: "1.33.1-eks-abc", Distribution: "eks", Infrastructure: "aws", TotalNodeCount: 1, TotalCoreCount: 4}},
		"kind":  {"v1.33.1", []corev1.Node{node("kind://docker/kind/x", nil)}, link.ClusterStatus{KubernetesVersion: "1.33.1", Distribution: "kind", Infrastructure: "generic", TotalNodeCount: 1, TotalCoreCount: 4}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var got link.ClusterStatus
			describe(&got, c.version, c.nodes)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("status (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBrokerStale(t *testing.T) {
	now := time.Unix(1700000000, 0)
	b := &Broker{endpoint: "https://e", clock: func() time.Time { return now }}
	secret := func(renew time.Time, endpoint string) *corev1.Secret {
		return &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{renewAnnotation: renew.Format(time.RFC3339)}},
			Data:       map[string][]byte{component.KeyEndpoint: []byte(endpoint)},
		}
	}
	for name, c := range map[string]struct {
		secret *corev1.Secret
		want   bool
	}{
		"fresh":                 {secret(now.Add(time.Minute), "https://e"), false},
		"half life over":        {secret(now, "https://e"), true},
		"another control plane": {secret(now.Add(time.Minute), "https://f"), true},
		"made by hand":          {&corev1.Secret{}, true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := b.stale(c.secret); got != c.want {
				t.Errorf("stale %v, want %v", got, c.want)
			}
		})
	}
}

func FuzzParseKey(f *testing.F) {
	_, good := newKey(f)
	f.Add(good)
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if key, err := ParseKey(data); err == nil && key == nil {
			t.Fatal("no key and no error")
		}
	})
}

// TestBrokerRenewsWhatAnEarlierAgentLeft: its token may speak of a deleted cluster of the same name.
func TestBrokerRenewsWhatAnEarlierAgentLeft(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	b := &Broker{endpoint: "https://e", clock: func() time.Time { return now }}
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "azureml", Annotations: map[string]string{renewAnnotation: now.Add(time.Hour).Format(time.RFC3339)}},
		Data: map[string][]byte{component.KeyEndpoint: []byte("https://e")}}
	if !b.due(s) {
		t.Error("kept the Secret of an earlier agent")
	}
	b.renewed.Store("azureml", true)
	if b.due(s) {
		t.Error("renews its own Secret before half of its life is over")
	}
}
