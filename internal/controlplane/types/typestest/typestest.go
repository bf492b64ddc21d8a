// Package typestest sets up the types over a real store for the tests of the types and of their controllers.
package typestest

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/desired"
	"fairlead.dev/fairlead/internal/controlplane/engine"
	"fairlead.dev/fairlead/internal/controlplane/reconcile"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/seal"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/store/sqlite"
	"fairlead.dev/fairlead/internal/controlplane/types"
	"fairlead.dev/fairlead/internal/controlplane/types/identity"
	"fairlead.dev/fairlead/internal/controlplane/types/runstate"
	"fairlead.dev/fairlead/internal/link"
)

// Ids that the set-ups make.
const (
	Sub       = "/subscriptions/00000000-0000-0000-0000-000000000001"
	Group     = Sub + "/resourceGroups/rg"
	Cluster   = Group + "/providers/Microsoft.Kubernetes/connectedClusters/edge"
	Managed   = Group + "/providers/Microsoft.ContainerService/managedClusters/aks"
	Extension = Cluster + "/providers/Microsoft.KubernetesConfiguration/extensions/arcml"
	Workspace = Group + "/providers/Microsoft.MachineLearningServices/workspaces/lab"
	Compute   = Workspace + "/computes/k8s"
	Endpoint  = Workspace + "/onlineEndpoints/digits"
	Blue      = Endpoint + "/deployments/blue"
)

// Env is a control plane without servers. Time stands still until Advance.
type Env struct {
	T      testing.TB
	Ctx    context.Context
	Store  store.Store
	Engine *engine.Engine
	Deps   types.Deps
	// KeySet is what verifies tokens of endpoints; OpenRelay reaches into the cluster.
	KeySet    string
	OpenRelay func(ctx context.Context, cluster string, t link.Target) (net.Conn, error)
	mu        sync.Mutex
	now       time.Time
	ids       int
}

type blobs struct{}

func (blobs) URL(account, container, name string) string {
	u := "https://fl.test/blob/" + account + "/" + container
	if name != "" {
		u += "/" + name
	}
	return u
}

func (b blobs) SAS(account, container, prefix, perms string, ttl time.Duration) string {
	return fmt.Sprintf("%s?sp=%s&ttl=%s&sig=x", b.URL(account, container, prefix), perms, ttl)
}

// IsFile says that what has an ending is a file.
func (blobs) IsFile(_ context.Context, address string) (bool, error) {
	return path.Ext(path.Base(address)) != "", nil
}

// New makes an empty control plane at 2026-01-02T03:04:05Z.
func New(t testing.TB) *Env {
	t.Helper()
	e := &Env{T: t, Ctx: t.Context(), KeySet: `{"keys":[]}`, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	st, err := sqlite.Open(e.Ctx, filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	e.Store = st
	box, err := seal.New(seal.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	e.Deps = types.Deps{
		Store: st, Clock: e.Now, PublicURL: "https://fl.test", StorageSuffix: "fl.test", TenantID: "11111111-0000-0000-0000-000000000000", CA: "CA PEM",
		Seal: func(b []byte) ([]byte, error) { return box.Seal(b, nil), nil },
		Open: func(b []byte) ([]byte, error) { return box.Open(b, nil) }, Desired: desired.New(box),
		IssueRunToken: func(_ context.Context, jobKey, jobID string, ttl time.Duration) (string, error) {
			return fmt.Sprintf("token of %s until %s", jobID, e.Now().Add(ttl).Format(time.RFC3339)), nil
		},
		IssueFetchToken: func(_ context.Context, _, id string, ttl time.Duration) (string, error) {
			return fmt.Sprintf("token of %s until %s", id, e.Now().Add(ttl).Format(time.RFC3339)), nil
		},
		IssueIdentityToken: func(_ context.Context, id identity.Identity, compute store.Record, ttl time.Duration) (string, error) {
			return fmt.Sprintf("token of %s by %s until %s", id.PrincipalID, compute.Name, e.Now().Add(ttl).Format(time.RFC3339)), nil
		},
		IssueEndpointToken: func(_ context.Context, p resource.Principal, audience string, ttl time.Duration) (string, error) {
			return fmt.Sprintf("token of %s for %s until %s", p.ID, audience, e.Now().Add(ttl).Format(time.RFC3339)), nil
		},
		TokenKeys: func() (string, string, error) { return "https://fl.test/issuer", e.KeySet, nil },
		OpenRelay: func(ctx context.Context, cluster string, t link.Target) (net.Conn, error) {
			return e.OpenRelay(ctx, cluster, t)
		},
		Blobs: blobs{}, NewID: e.newID, Authorize: func(context.Context, resource.Principal, string, string) error { return nil },
	}
	e.Engine = &engine.Engine{Store: st, Registry: resource.NewRegistry(types.All(e.Deps)...), Now: e.Now}
	return e
}

// Now is the test's time.
func (e *Env) Now() time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.now
}

// Advance moves the time on.
func (e *Env) Advance(d time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.now = e.now.Add(d)
}

func (e *Env) newID() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ids++
	return fmt.Sprintf("22222222-0000-0000-0000-%012d", e.ids)
}

// TryPut does a PUT.
func (e *Env) TryPut(id, body string) error {
	_, err := e.Engine.Put(e.Ctx, engine.PutRequest{ID: arm.MustParseID(id), Body: json.RawMessage(body), Header: http.Header{},
		Principal: resource.Principal{ID: "u", Name: "ada", Kind: "User"}})
	return err
}

// Put does a PUT that must succeed.
func (e *Env) Put(id, body string) {
	e.T.Helper()
	if err := e.TryPut(id, body); err != nil {
		e.T.Fatalf("PUT %s: %v", id, err)
	}
}

// TryPatch does a PATCH.
func (e *Env) TryPatch(id, body string) error {
	_, err := e.Engine.Put(e.Ctx, engine.PutRequest{ID: arm.MustParseID(id), Body: json.RawMessage(body), Header: http.Header{}, Merge: true,
		Principal: resource.Principal{ID: "u", Name: "ada", Kind: "User"}})
	return err
}

// TryDelete does a DELETE.
func (e *Env) TryDelete(id string, force bool) error {
	_, err := e.Engine.Delete(e.Ctx, engine.DeleteRequest{ID: arm.MustParseID(id), Force: force})
	return err
}

// Record reads a record that must exist.
func (e *Env) Record(id string) store.Record {
	e.T.Helper()
	rec, err := e.Store.Get(e.Ctx, strings.ToLower(id))
	if err != nil {
		e.T.Fatalf("reading %s: %v", id, err)
	}
	return rec
}

// Show is a GET that must succeed, without the etag, which is made of change numbers.
func (e *Env) Show(id string) map[string]any {
	e.T.Helper()
	body, err := e.Engine.Show(e.Ctx, e.Store, e.Record(id))
	if err != nil {
		e.T.Fatalf("GET %s: %v", id, err)
	}
	delete(body, "etag")
	raw, err := json.Marshal(body)
	if err != nil {
		e.T.Fatal(err)
	}
	var plain map[string]any
	if err := json.Unmarshal(raw, &plain); err != nil {
		e.T.Fatal(err)
	}
	return plain
}

// Prop is a property of a GET; names are nested with dots, but not in properties.properties of a job.
func (e *Env) Prop(id string, path ...string) any {
	e.T.Helper()
	var v any = e.Show(id)["properties"]
	for _, p := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[p]
	}
	return v
}

// Call runs an action; headers are as in "Name: value".
func (e *Env) Call(id, action, body string, headers ...string) (any, error) {
	e.T.Helper()
	parsed := arm.MustParseID(id)
	t, ok := e.Engine.Registry.Lookup(parsed.Type())
	if !ok {
		e.T.Fatalf("no type %s", parsed.Type())
	}
	a, ok := t.Actions[strings.ToLower(action)]
	if !ok {
		e.T.Fatalf("no action %s", action)
	}
	c := &resource.Call{Store: e.Store, ID: parsed, Body: json.RawMessage(body), Header: http.Header{}, ResponseHeader: http.Header{}}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		c.Header.Set(name, value)
	}
	if !a.WithoutRecord {
		c.Record = e.Record(id)
	}
	return a.Run(e.Ctx, c)
}

// Observe is what a cluster's agent posts.
func (e *Env) Observe(key string, v any) {
	e.T.Helper()
	e.ObserveOf(Cluster, key, v)
}

// ObserveOf is Observe of any cluster.
func (e *Env) ObserveOf(cluster, key string, v any) {
	e.T.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		e.T.Fatal(err)
	}
	if err := e.Store.Update(e.Ctx, func(tx store.Tx) error {
		return tx.PutObserved(e.Ctx, strings.ToLower(cluster), key, raw, e.Now())
	}); err != nil {
		e.T.Fatal(err)
	}
}

// Heartbeat says the cluster is there.
func (e *Env) Heartbeat() {
	e.T.Helper()
	e.Observe(link.KeyCluster, link.ClusterStatus{AgentVersion: "0.1.0", KubernetesVersion: "v1.36.3", Distribution: "fairlead",
		Infrastructure: "generic", TotalNodeCount: 3, TotalCoreCount: 6})
}

// Nodes says the cluster has namespaces default and train, and instance types defaultinstancetype and gpu.
func (e *Env) Nodes() {
	e.T.Helper()
	small := map[string]string{"cpu": "1", "memory": "2Gi"}
	e.Observe(link.KeyNodes, link.NodesStatus{Namespaces: []string{"default", "train"}, InstanceTypes: []link.InstanceType{
		{Name: "defaultinstancetype", Requests: small, Limits: small},
		{Name: "gpu", NodeSelector: map[string]string{"gpu": "yes"}, Requests: small, Limits: map[string]string{"cpu": "1", "memory": "2Gi", "nvidia.com/gpu": "1"}}}})
}

// Desired is the cluster's desired value of a key; ok is false when there is none.
func (e *Env) Desired(key string, v any) bool {
	e.T.Helper()
	return e.DesiredOf(strings.ToLower(Cluster), key, v)
}

// DesiredOf is Desired of any map.
func (e *Env) DesiredOf(cluster, key string, v any) bool {
	e.T.Helper()
	entries, err := e.Store.Desired(e.Ctx, cluster, key, 0)
	if err != nil {
		e.T.Fatal(err)
	}
	for _, en := range entries {
		if en.Key == key {
			raw := en.Value
			if cluster != runstate.Outbox { // what is told to reconcilers is in clear
				if raw, err = e.Deps.Desired.Open(cluster, en); err != nil {
					e.T.Fatal(err)
				}
			}
			if err := json.Unmarshal(raw, v); err != nil {
				e.T.Fatal(err)
			}
			return true
		}
	}
	return false
}

// Step reconciles one key.
func (e *Env) Step(c reconcile.Controller, key string) reconcile.Result {
	e.T.Helper()
	res, err := c.Reconcile(e.Ctx, strings.ToLower(key))
	if err != nil {
		e.T.Fatalf("reconciling %s: %v", key, err)
	}
	return res
}

// Base makes the subscription and the group.
func (e *Env) Base() {
	e.T.Helper()
	e.Put(Sub, `{"displayName":"Test"}`)
	e.Put(Group, `{"location":"lab"}`)
}

// agentKey is a public key for clusters, the same for all tests of a binary.
var agentKey = sync.OnceValue(func() string {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return base64.StdEncoding.EncodeToString(x509.MarshalPKCS1PublicKey(&key.PublicKey))
})

// ClusterBody is the body of a connected cluster's PUT.
func ClusterBody() string {
	return fmt.Sprintf(`{"location":"lab","identity":{"type":"SystemAssigned"},"properties":{"agentPublicKeyCertificate":%q,"distribution":"k3s"}}`, agentKey())
}

// ManagedBody is the body of a managed cluster's PUT with a kubeconfig.
func ManagedBody(kubeconfig string) string {
	return fmt.Sprintf(`{"location":"lab","properties":{"kubeconfig":%q}}`, kubeconfig)
}

// Kubeconfig is one of a cluster that is not there, with the given token.
func Kubeconfig(token string) string {
	return "current-context: a\ncontexts: [{name: a, context: {cluster: a, user: a}}]\nclusters: [{name: a, cluster: {server: 'https://kube.test:6443'}}]\n" +
		"users: [{name: a, user: {token: " + token + "}}]\n"
}

// Bodies of PUTs.
const (
	ExtensionBody = `{"properties":{"extensionType":"microsoft.azureml.kubernetes","configurationSettings":{"enableTraining":true},"configurationProtectedSettings":{"servicebus.connectionString":"secret"}}}`
	ComputeBody   = `{"properties":{"computeType":"Kubernetes","resourceId":"` + Cluster + `","properties":{"namespace":"train"}}}`
	CodeBody      = `{"properties":{"codeUri":"https://fl.test/blob/%s/upload-1","properties":{"hash_sha256":"abc"}}}`
	EndpointBody  = `{"properties":{"compute":"k8s"}}`
	BlueBody      = `{"properties":{"endpointComputeType":"Kubernetes","environmentId":"azureml:sklearn:1","model":"azureml:digits:1","codeConfiguration":{"codeId":"azureml:abc:1","scoringScript":"score.py"}}}`
	JobBody       = `{"properties":{"jobType":"Command","command":"python train.py","computeId":"k8s","environmentId":"azureml:sklearn:1"}}`
)

// Set writes over a property of a record, as a controller would.
func (e *Env) Set(id string, fields map[string]any) {
	e.T.Helper()
	rec := e.Record(id)
	var body map[string]any
	if err := json.Unmarshal(rec.Body, &body); err != nil {
		e.T.Fatal(err)
	}
	for k, v := range fields {
		body["properties"].(map[string]any)[k] = v
	}
	var err error
	if rec.Body, err = json.Marshal(body); err != nil {
		e.T.Fatal(err)
	}
	if err := e.Store.Update(e.Ctx, func(tx store.Tx) error {
		_, err := tx.Put(e.Ctx, rec)
		return err
	}); err != nil {
		e.T.Fatal(err)
	}
}

// Ready makes all that a job needs: a connected cluster with training, workspace lab with compute k8s and environment sklearn:1.
func (e *Env) Ready() {
	e.T.Helper()
	e.Base()
	e.Put(Cluster, ClusterBody())
	e.Heartbeat()
	e.Nodes()
	e.Put(Extension, ExtensionBody)
	e.Set(Extension, map[string]any{"provisioningState": "Succeeded"})
	e.Put(Workspace, `{}`)
	e.Put(Compute, ComputeBody)
	e.Set(Compute, map[string]any{"provisioningState": "Succeeded"})
	e.Put(Workspace+"/environments/sklearn/versions/1", `{"properties":{"image":"docker.io/library/sklearn:1"}}`)
}

// Serving makes all that an online deployment needs on top of Ready: a cluster with inference whose router is at 10.0.0.9, model digits:1
// and code abc:1, and endpoint digits.
func (e *Env) Serving() {
	e.T.Helper()
	e.Ready()
	e.Set(Extension, map[string]any{"configurationSettings": map[string]any{"enableTraining": "True", "enableInference": "True", "allowInsecureConnections": "True"}})
	e.Observe(link.KeyRouter, link.RouterStatus{Type: "LoadBalancer", LoadBalancers: []string{"10.0.0.9"}, ClusterIP: "10.96.0.9", Ports: []link.RouterPort{{Name: "http", Port: 80, NodePort: 30080}}})
	e.Put(Workspace+"/models/digits/versions/1", `{"properties":{"modelType":"custom_model","modelUri":"azureml://datastores/workspaceblobstore/paths/LocalUpload/x/model"}}`)
	e.Put(Workspace+"/codes/abc/versions/1", `{"properties":{"codeUri":"azureml://datastores/workspaceblobstore/paths/LocalUpload/y/code"}}`)
	e.Put(Endpoint, EndpointBody)
	e.Set(Endpoint, map[string]any{"provisioningState": "Succeeded"})
}

// Stored is a property of a record as it is stored.
func Stored(t *testing.T, rec store.Record, name string) any {
	t.Helper()
	var body struct {
		Properties map[string]any `json:"properties"`
	}
	if err := json.Unmarshal(rec.Body, &body); err != nil {
		t.Fatal(err)
	}
	return body.Properties[name]
}
