package identity

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/yaml"

	"fairlead.dev/fairlead/api/commonruntime"
	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/charts"
	"fairlead.dev/fairlead/internal/cluster/component"
	"fairlead.dev/fairlead/internal/controlplane/issuer"
	"fairlead.dev/fairlead/internal/controlplane/types/identity/identitytest"
	"fairlead.dev/fairlead/internal/httptunnel"
	"fairlead.dev/fairlead/internal/link/linktest"
	podruntime "fairlead.dev/fairlead/internal/runtime"
	"fairlead.dev/fairlead/internal/testing/freeport"
	"fairlead.dev/fairlead/internal/testing/kubetest"
)

// stage is a real API server, a real control plane, and the two components between them. The kubelet is played by the test.
type stage struct {
	*identitytest.Lab
	t      *testing.T
	c      client.WithWatch
	config *rest.Config
	scheme *runtime.Scheme
	// address is the proxy's, dir the folder that tells it where the control plane is.
	address, dir string
	controller   func() // stops it
	proxy        func()
}

func newStage(t *testing.T) *stage {
	t.Helper()
	log.SetLogger(logr.Discard())
	s := &stage{t: t, Lab: identitytest.New(t), config: kubetest.Start(t).Config, scheme: runtime.NewScheme(), dir: t.TempDir()}
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, apiextensionsv1.AddToScheme, v1alpha1.AddToScheme} {
		s.must(add(s.scheme))
	}
	var err error
	s.c, err = client.NewWithWatch(s.config, client.Options{Scheme: s.scheme})
	s.must(err)
	doc, err := charts.FS.ReadFile("azureml/crds/amlarc.azureml.com_identities.yaml")
	s.must(err)
	var crd apiextensionsv1.CustomResourceDefinition
	s.must(yaml.Unmarshal(doc, &crd))
	s.must(s.c.Create(t.Context(), &crd))
	until(s, &crd, &apiextensionsv1.CustomResourceDefinitionList{}, func(c *apiextensionsv1.CustomResourceDefinition) bool {
		for _, cond := range c.Status.Conditions {
			if cond.Type == apiextensionsv1.Established && cond.Status == apiextensionsv1.ConditionTrue {
				return true
			}
		}
		return false
	})
	s.must(s.c.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "ml"}}))
	s.must(os.WriteFile(filepath.Join(s.dir, component.KeyEndpoint), []byte(s.Server.URL+"\n"), 0o600))
	s.address = freeport.Address(s.t)
	return s
}

func (s *stage) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// start runs a component; the function returned ends it.
func (s *stage) start(add func(manager.Manager) error, wait func()) (stop func()) {
	s.t.Helper()
	mgr, err := ctrl.NewManager(s.config, ctrl.Options{Scheme: s.scheme, Metrics: metricsserver.Options{BindAddress: "0"}, Cache: CacheOptions(), Controller: config.Controller{SkipNameValidation: new(true)}})
	s.must(err)
	s.must(add(mgr))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			s.t.Errorf("manager: %v", err)
		}
	}
	s.t.Cleanup(stop)
	wait()
	return stop
}

func (s *stage) startController() { s.controller = s.start(Add, func() {}) }

// startProxy waits until it answers.
func (s *stage) startProxy() {
	s.t.Helper()
	s.proxy = s.start(func(m manager.Manager) error {
		return AddProxy(m, s.address, s.dir, slog.New(slog.DiscardHandler))
	}, func() {
		for range 200 {
			if conn, err := net.DialTimeout("tcp", s.address, time.Second); err == nil {
				conn.Close()
				return
			}
			pause := time.NewTimer(50 * time.Millisecond)
			<-pause.C
		}
		s.t.Fatal("the proxy does not listen")
	})
}

// until watches one object until it is as wanted.
func until[T client.Object](s *stage, obj T, list client.ObjectList, ok func(T) bool) T {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 2*time.Minute)
	defer cancel()
	w, err := s.c.Watch(ctx, list, client.InNamespace(obj.GetNamespace()), client.MatchingFields{"metadata.name": obj.GetName()})
	s.must(err)
	defer w.Stop()
	for {
		select {
		case e, open := <-w.ResultChan():
			if !open {
				s.t.Fatal("watch ended")
			}
			if o, is := e.Object.(T); is && e.Type != watch.Deleted && ok(o) {
				return o
			}
		case <-ctx.Done():
			s.t.Fatalf("%T %s did not become as wanted", obj, obj.GetName())
		}
	}
}

// identity makes an Identity as inference-operator does.
func (s *stage) identity(name string, spec v1alpha1.ManagedIdentity) {
	s.t.Helper()
	s.must(s.c.Create(s.t.Context(), &v1alpha1.Identity{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ml"}, Spec: spec}))
}

func (s *stage) isReady(name string) {
	s.t.Helper()
	until(s, &v1alpha1.Identity{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ml"}}, &v1alpha1.IdentityList{}, (*v1alpha1.Identity).Usable)
}

// pod makes a pod in an account.
func (s *stage) pod(name, account string) *corev1.Pod {
	s.t.Helper()
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ml"}, Spec: corev1.PodSpec{ServiceAccountName: account, Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	s.must(s.c.Create(s.t.Context(), p))
	return p
}

// proof is a token as the kubelet gets it for a pod; bound to no pod if that is nil.
func (s *stage) proof(account, audience string, to *corev1.Pod) string {
	s.t.Helper()
	seconds := int64(600)
	req := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{audience}, ExpirationSeconds: &seconds}}
	if to != nil {
		req.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: to.Name, UID: to.UID}
	}
	s.must(s.c.SubResource("token").Create(s.t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: account, Namespace: "ml"}}, req))
	return req.Status.Token
}

// sidecar runs the real one, and gives what its pod's processes have in their surroundings.
func (s *stage) sidecar(is v1alpha1.ManagedIdentity, proof, token string) map[string]string {
	s.t.Helper()
	cfg := podruntime.IdentityConfig{Secret: "shared-by-the-containers-of-a-pod", Dir: s.t.TempDir(), Stderr: io.Discard,
		Sidecar: commonruntime.IdentitySidecar{Identity: commonruntime.Identity(is), CA: string(linktest.CA(s.Server)), Proxy: "http://" + s.address}}
	for name, text := range map[string]string{commonruntime.IdentityProof: proof, commonruntime.IdentityToken: token} {
		s.must(os.WriteFile(filepath.Join(cfg.Dir, name), []byte(text), 0o600))
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	s.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- podruntime.GiveTokensOn(ctx, cfg, l) }()
	s.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Error(err)
		}
	})
	return cfg.Sidecar.Identity.Environ(l.Addr().String(), cfg.Secret)
}

// ask does what Azure's libraries do.
func (s *stage) ask(env map[string]string, resource string) (int, string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, env["IDENTITY_ENDPOINT"]+"?api-version=2019-08-01&resource="+resource, nil)
	s.must(err)
	req.Header.Set("X-IDENTITY-HEADER", env["IDENTITY_HEADER"])
	resp, err := http.DefaultClient.Do(req)
	s.must(err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	s.must(err)
	return resp.StatusCode, string(body)
}

// blue is the Lab's deployment with an identity of its endpoint, and a pod of it in this cluster.
func (s *stage) blue() (is v1alpha1.ManagedIdentity, principal, proof, token string) {
	s.t.Helper()
	s.Serve(`{"type":"SystemAssigned"}`)
	st, token := s.Deploy("")
	s.identity("blue", *st.Spec.Identity)
	s.isReady("blue")
	return *st.Spec.Identity, st.SpeaksAs.Principal, s.proof("blue", v1alpha1.IdentityProxy, s.pod("blue-1", "blue")), token
}

// TestPodsGetTokens as long as both components run: without the controller no new Identity is of use, without the proxy no new token is had.
func TestPodsGetTokens(t *testing.T) {
	s := newStage(t)
	s.startController()
	s.startProxy()
	is, principal, proof, token := s.blue()
	env := s.sidecar(is, proof, token)
	library(t, env, func(t *testing.T, token string) {
		who, err := s.Issuer.Verify(t.Context(), token)
		if err != nil || who.Kind != issuer.KindManagedIdentity || who.ID != principal || who.Name != "lab/onlineEndpoints/digits" {
			t.Errorf("the token speaks for %+v, %v", who, err)
		}
	}, goProgram(t))

	if status, body := s.ask(map[string]string{"IDENTITY_ENDPOINT": env["IDENTITY_ENDPOINT"], "IDENTITY_HEADER": "guess"}, "https://ml.azure.com"); status != http.StatusUnauthorized {
		t.Errorf("with a wrong secret: %d %s", status, body)
	}
	_, run := s.Run("train", "")
	if status, body := s.ask(s.sidecar(is, proof, run), "https://ml.azure.com"); status != http.StatusBadRequest || !strings.Contains(body, "job train has no managed identity") {
		t.Errorf("with another workload's token: %d %s", status, body)
	}

	s.proxy()
	if status, body := s.ask(env, "https://storage.azure.com"); status != http.StatusServiceUnavailable || strings.Contains(body, "access_token") {
		t.Errorf("without the proxy: %d %s", status, body)
	}
	if status, body := s.ask(env, "https://management.azure.com"); status != http.StatusOK {
		t.Errorf("a token that was had before: %d %s", status, body)
	}
	s.startProxy()
	if status, body := s.ask(env, "https://storage.azure.com"); status != http.StatusOK {
		t.Errorf("the proxy is back: %d %s", status, body)
	}

	s.controller()
	s.identity("green", is)
	if err := s.c.Get(t.Context(), client.ObjectKey{Namespace: "ml", Name: "green"}, &corev1.ServiceAccount{}); !apierrors.IsNotFound(err) {
		t.Errorf("the account of an Identity that nobody looked at: %v", err)
	}
	s.startController()
	s.isReady("green")
	if status, body := s.ask(s.sidecar(is, s.proof("green", v1alpha1.IdentityProxy, s.pod("green-1", "green")), token), "https://ml.azure.com"); status != http.StatusOK {
		t.Errorf("the controller is back: %d %s", status, body)
	}

	s.Serve(`{"type":"None"}`)
	if status, body := s.ask(env, "https://vault.azure.net"); status != http.StatusBadRequest || !strings.Contains(body, "taken away from endpoint digits") {
		t.Errorf("the identity was taken away: %d %s", status, body)
	}
	s.must(s.c.Delete(t.Context(), &v1alpha1.Identity{ObjectMeta: metav1.ObjectMeta{Name: "blue", Namespace: "ml"}}))
	for status, body := 0, ""; ; {
		if status, body = s.ask(env, "https://graph.microsoft.com"); status == http.StatusServiceUnavailable && strings.Contains(body, "there is no Identity blue") {
			break // the proxy has heard of it
		}
		if t.Context().Err() != nil {
			t.Fatalf("the Identity is gone: %d %s", status, body)
		}
	}
}

// knock sends the proxy a request as it is written and reads the answer.
func (s *stage) knock(request string) (int, string) {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.address)
	s.must(err)
	defer conn.Close()
	_, err = io.WriteString(conn, request)
	s.must(err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	s.must(err)
	defer resp.Body.Close()
	return resp.StatusCode, resp.Header.Get(httptunnel.ReasonHeader)
}

// TestProxyRefuses everybody but pods of Identities, and leads nobody elsewhere.
func TestProxyRefuses(t *testing.T) {
	s := newStage(t)
	s.startController()
	s.startProxy()
	is, _, proof, token := s.blue()
	target := s.Server.Listener.Addr().String()
	connect := func(target, auth string) string {
		return fmt.Sprintf("CONNECT %s HTTP/1.1\r\nHost: %s\r\nProxy-Authorization: %s\r\n\r\n", target, target, auth)
	}
	for _, name := range []string{"plain", "foreign"} {
		s.must(s.c.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ml"}}))
	}
	s.identity("foreign", is)
	until(s, &v1alpha1.Identity{ObjectMeta: metav1.ObjectMeta{Name: "foreign", Namespace: "ml"}}, &v1alpha1.IdentityList{}, func(id *v1alpha1.Identity) bool { return id.Status.Message != "" })
	gone := s.pod("blue-2", "blue")
	ofGone := s.proof("blue", v1alpha1.IdentityProxy, gone)
	s.must(s.c.Delete(t.Context(), gone, client.GracePeriodSeconds(0)))
	blue := s.pod("blue-3", "blue")
	bearer := "Bearer " + proof
	for name, c := range map[string]struct {
		request string
		status  int
		says    string
	}{
		"its own":              {connect(target, bearer), http.StatusOK, ""},
		"metadata service":     {connect("169.254.169.254:80", bearer), http.StatusForbidden, "not where this leads"},
		"the cluster's API":    {connect(strings.TrimPrefix(s.config.Host, "https://"), bearer), http.StatusForbidden, "not where this leads"},
		"another port":         {connect("127.0.0.1:22", bearer), http.StatusForbidden, "not where this leads"},
		"the host in a header": {"CONNECT 169.254.169.254:80 HTTP/1.1\r\nHost: " + target + "\r\nProxy-Authorization: " + bearer + "\r\n\r\n", http.StatusForbidden, "not where this leads"},
		"to be fetched":        {"GET http://169.254.169.254/latest/meta-data HTTP/1.1\r\nHost: 169.254.169.254\r\nProxy-Authorization: " + bearer + "\r\n\r\n", http.StatusMethodNotAllowed, "GET is not served"},
		"posted by a page":     {"POST /token HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", http.StatusMethodNotAllowed, "POST is not served"},
		"nobody":               {connect(target, ""), http.StatusProxyAuthRequired, "missing"},
		"a password":           {connect(target, "Basic dTpw"), http.StatusProxyAuthRequired, "missing"},
		"no token":             {connect(target, "Bearer x"), http.StatusProxyAuthRequired, "not good"},
		"a control plane's":    {connect(target, "Bearer "+token), http.StatusProxyAuthRequired, "not good"},
		"for the API":          {connect(target, "Bearer "+s.proof("blue", "https://kubernetes.default.svc", blue)), http.StatusProxyAuthRequired, "not good"},
		"bound to no pod":      {connect(target, "Bearer "+s.proof("blue", v1alpha1.IdentityProxy, nil)), http.StatusForbidden, "bound to no pod"},
		"of a pod that ended":  {connect(target, "Bearer "+ofGone), http.StatusProxyAuthRequired, "not good"},
		"no identity":          {connect(target, "Bearer "+s.proof("plain", v1alpha1.IdentityProxy, s.pod("plain-1", "plain"))), http.StatusForbidden, "there is no Identity plain"},
		"another's account":    {connect(target, "Bearer "+s.proof("foreign", v1alpha1.IdentityProxy, s.pod("foreign-1", "foreign"))), http.StatusForbidden, "made by somebody else"},
	} {
		if status, reason := s.knock(c.request); status != c.status || !strings.Contains(reason, c.says) || strings.Contains(reason, "eyJ") {
			t.Errorf("%s: %d %q; want %d %q", name, status, reason, c.status, c.says)
		}
	}
	hold := func() int {
		conn, err := net.Dial("tcp", s.address)
		s.must(err)
		t.Cleanup(func() { conn.Close() })
		_, err = io.WriteString(conn, connect(target, bearer))
		s.must(err)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		s.must(err)
		return resp.StatusCode
	}
	for range maxTunnelsOfOne {
		if status := hold(); status != http.StatusOK {
			t.Fatalf("a tunnel that is kept open: %d", status)
		}
	}
	if status := hold(); status != http.StatusServiceUnavailable {
		t.Errorf("one tunnel too many: %d", status)
	}
	s.identity("green", is)
	s.isReady("green")
	bearer = "Bearer " + s.proof("green", v1alpha1.IdentityProxy, s.pod("green-1", "green"))
	if status := hold(); status != http.StatusOK {
		t.Errorf("another Identity's: %d", status)
	}
	s.Server.CloseClientConnections()
	s.Server.Close()
	if status, reason := s.knock(connect(target, bearer)); status != http.StatusBadGateway || !strings.Contains(reason, "cannot be reached") {
		t.Errorf("while the control plane is away: %d %s", status, reason)
	}
}
