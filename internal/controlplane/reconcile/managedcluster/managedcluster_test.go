package managedcluster

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types"
	"fairlead.dev/fairlead/internal/controlplane/types/typestest"
	"fairlead.dev/fairlead/internal/link"
)

func TestPlan(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	for name, c := range map[string]struct {
		state  string
		memory types.ManagedInternal
		heard  string
		want   action
		again  time.Duration
	}{
		"new":                      {"Creating", types.ManagedInternal{Generation: 1}, "", install, 0},
		"another is at it":         {"Creating", types.ManagedInternal{Generation: 1, Claimed: now.Add(time.Minute)}, "", wait, time.Minute},
		"another broke off":        {"Creating", types.ManagedInternal{Generation: 1, Claimed: ago(time.Second)}, "", install, 0},
		"not heard of yet":         {"Creating", types.ManagedInternal{Generation: 1, Installed: 1, InstalledAt: ago(time.Minute)}, "", wait, poll},
		"the former is heard":      {"Updating", types.ManagedInternal{Generation: 2, Installed: 2, InstalledAt: ago(time.Minute)}, "old", wait, poll},
		"heard of":                 {"Creating", types.ManagedInternal{Generation: 1, Installed: 1, InstalledAt: ago(time.Minute)}, "new", succeed, 0},
		"never heard of":           {"Creating", types.ManagedInternal{Generation: 1, Installed: 1, InstalledAt: ago(patience)}, "", giveUp, 0},
		"only the former is heard": {"Updating", types.ManagedInternal{Generation: 2, Installed: 2, InstalledAt: ago(patience)}, "old", giveUp, 0},
		"changed":                  {"Updating", types.ManagedInternal{Generation: 2, Installed: 1, InstalledAt: ago(time.Hour)}, "old", install, 0},
		"done":                     {"Succeeded", types.ManagedInternal{Generation: 1, Installed: 1}, "new", nothing, 0},
		"failed":                   {"Failed", types.ManagedInternal{Generation: 1}, "", nothing, 0},
		"deleted":                  {"Deleting", types.ManagedInternal{Generation: 1, Installed: 1}, "new", uninstall, 0},
		"deleted while installed":  {"Deleting", types.ManagedInternal{Generation: 1, Claimed: now.Add(time.Second)}, "new", wait, time.Second},
	} {
		if do, again := plan(input{now: now, state: c.state, memory: c.memory, key: "new", heard: c.heard}); do != c.want || again != c.again {
			t.Errorf("%s: %d after %s; want %d after %s", name, do, again, c.want, c.again)
		}
	}
}

func TestExplain(t *testing.T) {
	wrap := func(err error) error {
		return fmt.Errorf("asking: %w", &url.Error{Op: "Get", URL: "https://x", Err: err})
	}
	all := schema.GroupResource{Resource: "*"}
	for name, c := range map[string]struct {
		err        error
		code, text string
	}{
		"another CA":   {wrap(x509.UnknownAuthorityError{}), "InvalidComputeNoKubernetesConfiguration", "not signed by the CA in the kubeconfig"},
		"another name": {wrap(x509.HostnameError{Certificate: &x509.Certificate{}, Host: "kube"}), "InvalidComputeNoKubernetesConfiguration", "is for other names"},
		"expired":      {wrap(x509.CertificateInvalidError{Reason: x509.Expired}), "InvalidComputeNoKubernetesConfiguration", "is not valid"},
		"credentials":  {fmt.Errorf("asking: %w", apierrors.NewUnauthorized("no")), "ClusterUnauthorized", "does not know the user"},
		"rights":       {apierrors.NewForbidden(all, "*", errors.New("no")), "ClusterUnauthorized", "create clusterrolebinding"},
		"slow":         {context.DeadlineExceeded, "ClusterNotReachable", "did not answer in time"},
		"refused":      {wrap(&net.OpError{Op: "dial", Err: errors.New("connection refused")}), "ClusterNotReachable", "No connection to kube:6443"},
		"forbidden":    {wrap(&net.AddrError{Err: "link-local", Addr: "169.254.169.254:443"}), "ClusterNotReachable", "link-local"},
		"other":        {errors.New("quota exceeded"), "GenericClusterError", "Failed to connect to Kubernetes cluster: quota exceeded"},
		"explained":    {arm.Errorf(400, "X", "as it is"), "X", "as it is"},
	} {
		if got := explain(c.err, "kube:6443"); got.Code != c.code || !strings.Contains(got.Message, c.text) {
			t.Errorf("%s: %s: %s", name, got.Code, got.Message)
		}
	}
}

// TestConnected: which heartbeat is the installed agent's. Agents of earlier releases do not say their key.
func TestConnected(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	first := types.ManagedInternal{InstalledAt: now}
	again := types.ManagedInternal{InstalledAt: now, FormerKeys: []string{"former"}}
	for name, c := range map[string]struct {
		memory     types.ManagedInternal
		key, heard string
		seen       time.Time
		want       bool
	}{
		"none":                           {first, "new", "", time.Time{}, false},
		"none, and no key":               {first, "", "", time.Time{}, false},
		"without key, and no key":        {first, "", "", now.Add(time.Second), false},
		"the new":                        {again, "new", "new", now.Add(-time.Second), true},
		"the former":                     {again, "new", "old", now.Add(time.Second), false},
		"without key":                    {first, "new", "", now.Add(time.Second), true},
		"without key, before":            {first, "new", "", now, false},
		"without key, perhaps a former":  {again, "new", "", now.Add(time.Second), false},
		"another's, where none was here": {first, "new", "old", now.Add(time.Second), false},
	} {
		if got := (input{memory: c.memory, key: c.key, heard: c.heard, seen: c.seen}).connected(); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// TestAgentOfAnEarlierRelease is one whose image agentProfile names: its heartbeat without a key ends the operation well.
func TestAgentOfAnEarlierRelease(t *testing.T) {
	f := &faulty{uid: "u1"}
	e, c := setUp(t, f)
	e.Put(typestest.Managed, typestest.ManagedBody(typestest.Kubeconfig("TOKEN")))
	e.Step(c, typestest.Managed)
	e.Step(c, typestest.Managed)
	expect(t, e, "Creating", "")
	e.Advance(time.Second)
	e.ObserveOf(typestest.Managed, link.KeyCluster, link.ClusterStatus{KubernetesVersion: "v1.36.3", TotalNodeCount: 2})
	e.Step(c, typestest.Managed)
	expect(t, e, "Succeeded", "")
}

// faulty is an installer that fails when told to.
type faulty struct {
	inspect, install, explain, uninstall error
	uid                                  string
	installed                            []types.ManagedAgent
	kubeconfigs                          []string
}

func (f *faulty) Inspect(context.Context, []byte) (types.ManagedFacts, error) {
	return types.ManagedFacts{KubernetesVersion: "1.36.3", UID: f.uid}, f.inspect
}

func (f *faulty) Install(_ context.Context, kubeconfig []byte, a types.ManagedAgent) error {
	f.installed, f.kubeconfigs = append(f.installed, a), append(f.kubeconfigs, string(kubeconfig))
	return f.install
}

func (f *faulty) Explain(context.Context, []byte) error           { return f.explain }
func (f *faulty) Uninstall(context.Context, []byte, string) error { return f.uninstall }

func setUp(t *testing.T, f *faulty) (*typestest.Env, *Controller) {
	t.Helper()
	e := typestest.New(t)
	e.Deps.Installer = f
	e.Engine.Registry = resource.NewRegistry(types.All(e.Deps)...)
	e.Base()
	return e, New(e.Deps)
}

func expect(t *testing.T, e *typestest.Env, state, text string) {
	t.Helper()
	body := e.Show(typestest.Managed)
	raw, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	rec := e.Record(typestest.Managed)
	if strings.Contains(string(raw)+string(rec.Body)+string(rec.Internal)+string(rec.Secret), "TOKEN") {
		t.Error("the kubeconfig shows")
	}
	if got := e.Prop(typestest.Managed, "provisioningState"); got != state || !strings.Contains(string(raw), text) {
		t.Errorf("%v; want %s, and %q in\n%s", got, state, text, raw)
	}
}

// heard is a heartbeat of an agent.
func heard(t *testing.T, e *typestest.Env, a types.ManagedAgent) {
	t.Helper()
	block, _ := pem.Decode(a.PrivateKeyPEM)
	key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	e.ObserveOf(typestest.Managed, link.KeyCluster, link.ClusterStatus{AgentKey: link.KeyID(&key.PublicKey), KubernetesVersion: "v1.36.3", TotalNodeCount: 2})
}

func TestLife(t *testing.T) {
	f := &faulty{uid: "u1"}
	e, c := setUp(t, f)
	e.Put(typestest.Managed, typestest.ManagedBody(typestest.Kubeconfig("TOKEN1")))
	e.Step(c, typestest.Managed)
	expect(t, e, "Creating", `"connectivityStatus":"Connecting"`)
	if res := e.Step(c, typestest.Managed); res.RequeueAfter != poll || len(f.installed) != 1 {
		t.Fatalf("installed %d times, again after %s", len(f.installed), res.RequeueAfter)
	}
	if a := f.installed[0]; a.ClusterID != typestest.Managed || a.Endpoint != "https://fl.test" || !strings.Contains(string(a.PrivateKeyPEM), "RSA PRIVATE KEY") {
		t.Errorf("the agent was told %+v", a)
	}
	e.Advance(time.Second)
	heard(t, e, f.installed[0])
	e.Step(c, typestest.Managed)
	expect(t, e, "Succeeded", `"agentPoolProfiles":[{"count":2`)

	e.Put(typestest.Managed, `{"location":"lab","tags":{"a":"b"}}`) // nothing to install
	expect(t, e, "Succeeded", `"a":"b"`)
	e.Put(typestest.Managed, typestest.ManagedBody(typestest.Kubeconfig("TOKEN2")))
	var busy *arm.Error
	if err := e.TryPut(typestest.Managed, `{"location":"lab"}`); !errors.As(err, &busy) || busy.Status != http.StatusConflict {
		t.Errorf("a PUT while one is under way: %v", err)
	}
	e.Step(c, typestest.Managed)
	if m, err := types.ManagedState(e.Record(typestest.Managed)); err != nil || len(m.FormerKeys) != 1 {
		t.Errorf("former keys while the agent comes up: %q, %v", m.FormerKeys, err)
	}
	e.Advance(time.Second)
	heard(t, e, f.installed[0]) // which goes on until the new one runs
	e.Step(c, typestest.Managed)
	expect(t, e, "Updating", "")
	if m, err := types.ManagedState(e.Record(typestest.Managed)); err != nil || len(m.FormerKeys) != 1 {
		t.Errorf("former keys when a former agent was heard: %q, %v", m.FormerKeys, err)
	}
	e.Advance(time.Second)
	heard(t, e, f.installed[1])
	e.Step(c, typestest.Managed)
	if m, err := types.ManagedState(e.Record(typestest.Managed)); err != nil || len(m.FormerKeys) != 0 {
		t.Errorf("former keys when it has: %q, %v", m.FormerKeys, err)
	}
	if len(f.installed) != 2 || !strings.Contains(f.kubeconfigs[1], "TOKEN2") || string(f.installed[0].PrivateKeyPEM) == string(f.installed[1].PrivateKeyPEM) {
		t.Errorf("new credentials were not used for a new agent")
	}
	answer, err := e.Call(typestest.Managed, "listClusterAdminCredential", "")
	if err != nil || !strings.Contains(fmt.Sprintf("%s", answer), "TOKEN2") {
		t.Errorf("admin credential: %s, %v", answer, err)
	}
	answer, err = e.Call(typestest.Managed, "listClusterUserCredential", "")
	if err != nil || strings.Contains(fmt.Sprintf("%s", answer), "TOKEN") {
		t.Errorf("user credential: %s, %v", answer, err)
	}
	if err := e.TryDelete(typestest.Managed, false); err != nil {
		t.Fatal(err)
	}
	f.uninstall = errors.New("away")
	if res := e.Step(c, typestest.Managed); res.RequeueAfter != removeAgain {
		t.Errorf("again after %s", res.RequeueAfter)
	}
	f.uninstall = nil
	e.Advance(removeAgain)
	e.Step(c, typestest.Managed)
	if _, err := e.Store.Get(e.Ctx, strings.ToLower(typestest.Managed)); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("still there: %v", err)
	}
}

// TestFaults: the operation fails with the reason, and a kubeconfig that does not work leaves an agent that does alone.
func TestFaults(t *testing.T) {
	f := &faulty{uid: "u1", inspect: apierrors.NewUnauthorized("no")}
	e, c := setUp(t, f)
	put := func(token string) {
		t.Helper()
		e.Put(typestest.Managed, typestest.ManagedBody(typestest.Kubeconfig(token)))
		e.Step(c, typestest.Managed)
	}
	put("TOKEN")
	expect(t, e, "Failed", "Request to Kubernetes cluster unauthorized. kube.test:6443 does not know the user")
	formers := func() []string {
		t.Helper()
		m, err := types.ManagedState(e.Record(typestest.Managed))
		if err != nil {
			t.Fatal(err)
		}
		return m.FormerKeys
	}
	f.inspect, f.install = nil, errors.New("no room")
	put("TOKEN")
	expect(t, e, "Failed", "Failed to connect to Kubernetes cluster: no room")
	worked := e.Prop(typestest.Managed, "agentPublicKeyCertificate") // say
	put("TOKEN")
	if got := formers(); len(got) != 1 || got[0] != worked {
		t.Errorf("after an installation that failed the former keys are %q, want %v", got, worked)
	}
	f.install = nil
	e.Put(typestest.Managed, `{"location":"lab"}`) // without a kubeconfig: the one that is there, again
	e.Step(c, typestest.Managed)
	key := e.Prop(typestest.Managed, "agentPublicKeyCertificate")
	f.explain = errors.New("ImagePullBackOff")
	e.Advance(patience)
	e.Step(c, typestest.Managed)
	expect(t, e, "Failed", "does not run: ImagePullBackOff")
	if got := formers(); len(got) != 2 || got[0] != worked {
		t.Errorf("after an agent that did not come up the former keys are %q", got)
	}
	f.uid = "u2"
	put("TOKEN")
	expect(t, e, "Failed", "It reaches another cluster than the one that aks has been until now")
	f.uid, f.inspect = "u1", &net.OpError{Op: "dial", Err: errors.New("refused")}
	put("TOKEN")
	expect(t, e, "Failed", "The control plane itself must reach it")
	if e.Prop(typestest.Managed, "agentPublicKeyCertificate") != key {
		t.Error("the key of the agent that runs was replaced")
	}
	if err := e.TryDelete(typestest.Managed, false); err != nil {
		t.Fatal(err)
	}
	f.uninstall = errors.New("away")
	e.Advance(removePatience)
	e.Step(c, typestest.Managed)
	expect(t, e, "Failed", "could not be removed from kube.test:6443 within 15 minutes: away")
	if err := e.TryDelete(typestest.Managed, true); err != nil {
		t.Fatal(err)
	}
}

func TestFormer(t *testing.T) {
	var keys []string
	for i := range 2 * maxFormer {
		keys = former(keys, fmt.Sprint(i))
	}
	if len(keys) != maxFormer || keys[0] != "0" || keys[maxFormer-1] != fmt.Sprint(2*maxFormer-1) {
		t.Errorf("kept %q", keys)
	}
	if got := former(nil, nil); len(got) != 0 {
		t.Errorf("of a cluster that never had an agent: %q", got)
	}
}

// TestServerStops in the middle of an installation: the next one takes over at once.
func TestServerStops(t *testing.T) {
	f := &faulty{uid: "u1"}
	e, c := setUp(t, f)
	e.Put(typestest.Managed, typestest.ManagedBody(typestest.Kubeconfig("TOKEN")))
	ctx, cancel := context.WithCancel(e.Ctx)
	stopping := e.Deps
	stopping.Installer = &stopsAt{faulty: f, stop: cancel}
	if _, err := New(stopping).Reconcile(ctx, strings.ToLower(typestest.Managed)); !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
	expect(t, e, "Creating", "")
	e.Step(c, typestest.Managed)
	if len(f.installed) != 1 {
		t.Errorf("installed %d times", len(f.installed))
	}
}

type stopsAt struct {
	*faulty
	stop func()
}

func (s *stopsAt) Inspect(ctx context.Context, _ []byte) (types.ManagedFacts, error) {
	s.stop()
	return types.ManagedFacts{}, ctx.Err()
}

// TestWithoutInstaller: a build without Helm says so.
func TestWithoutInstaller(t *testing.T) {
	e := typestest.New(t)
	e.Base()
	err := e.TryPut(typestest.Managed, typestest.ManagedBody(typestest.Kubeconfig("TOKEN")))
	var ae *arm.Error
	if !errors.As(err, &ae) || ae.Status != http.StatusNotImplemented {
		t.Errorf("error %v", err)
	}
}
