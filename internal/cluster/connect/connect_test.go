package connect

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"fairlead.dev/fairlead/internal/cluster/agentinstall"
	"fairlead.dev/fairlead/internal/link"
	"fairlead.dev/fairlead/internal/testing/kubetest"
)

const alice = "6f9619ff-8b86-d011-b42d-00c04fc964ff"

// through is a client whose every connection is a stream to the Server for a target.
func through(t *testing.T, s *Server, target link.Target, change func(*rest.Config)) kubernetes.Interface {
	t.Helper()
	cfg := &rest.Config{Host: "http://cluster", QPS: -1, Dial: func(context.Context, string, string) (net.Conn, error) { return dial(t, s, target) }}
	if change != nil {
		change(cfg)
	}
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func dial(t *testing.T, s *Server, target link.Target) (net.Conn, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer l.Close()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return nil, err
	}
	far, err := l.Accept()
	if err != nil {
		return nil, err
	}
	done := make(chan struct{})
	go func() { defer close(done); s.Handle(t.Context(), target, far) }()
	t.Cleanup(func() { near.Close(); <-done })
	answer := make([]byte, 3) // "{}" and a newline, and nothing after it
	if _, err = io.ReadFull(near, answer); string(answer) != "{}\n" {
		t.Errorf("answer %q, %v", answer, err)
	}
	return near, err
}

func whoami(t *testing.T, c kubernetes.Interface) authenticationv1.UserInfo {
	t.Helper()
	review, err := c.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return review.Status.UserInfo
}

// TestCallersAreThemselves runs the chart's own RBAC on a real API server.
func TestCallersAreThemselves(t *testing.T) {
	cluster := kubetest.Start(t)
	if err := agentinstall.Install(t.Context(), agentinstall.Options{Kubeconfig: cluster.Kubeconfig, Endpoint: "https://fl.example", ClusterID: "/x", TenantID: "t", PrivateKeyPEM: []byte("KEY"), NoWait: true}); err != nil {
		t.Fatal(err)
	}
	admin, err := kubernetes.NewForConfig(cluster.Config)
	if err != nil {
		t.Fatal(err)
	}
	account := AccountToken(admin, agentinstall.Namespace, "fairlead-connect")
	s, err := New(cluster.Config, account, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	as := func(groups ...string) link.Target {
		return link.Target{Kind: link.KindKube, User: alice, UserKind: "ServicePrincipal", Groups: groups}
	}
	t.Run("identity", func(t *testing.T) {
		for name, change := range map[string]func(*rest.Config){
			"plain": nil,
			"impersonating": func(c *rest.Config) {
				c.Impersonate = rest.ImpersonationConfig{UserName: "root", Groups: []string{"system:masters"}}
			},
			"with a token": func(c *rest.Config) { c.BearerToken = "someone-else" },
		} {
			who := whoami(t, through(t, s, as(link.GroupContributors, link.GroupReaders), change))
			if who.Username != alice || strings.Join(who.Groups, " ") != "fairlead:contributors fairlead:readers system:authenticated" || who.Extra[link.ExtraKind][0] != "ServicePrincipal" {
				t.Errorf("%s: the API server sees %+v", name, who)
			}
		}
	})
	t.Run("default rights", func(t *testing.T) {
		for _, c := range []struct {
			groups         []string
			secrets, nodes bool
		}{{nil, false, false}, {[]string{link.GroupReaders}, false, true}, {[]string{link.GroupContributors, link.GroupReaders}, false, true}, {[]string{link.GroupOwners}, true, true}} {
			client := through(t, s, as(c.groups...), nil)
			_, err := client.CoreV1().Secrets(agentinstall.Namespace).List(t.Context(), metav1.ListOptions{})
			if (err == nil) != c.secrets || (err != nil && !apierrors.IsForbidden(err)) {
				t.Errorf("secrets for %v: %v", c.groups, err)
			}
			_, err = client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
			if (err == nil) != c.nodes || (err != nil && !apierrors.IsForbidden(err)) {
				t.Errorf("nodes for %v: %v", c.groups, err)
			}
		}
	})
	t.Run("the account alone", func(t *testing.T) { accountAlone(t, cluster.Config, account) })
	t.Run("a token that is refused", func(t *testing.T) {
		bad, err := New(cluster.Config, func(context.Context) (string, error) { return "bad", nil }, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		_, err = through(t, bad, as(), nil).CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{})
		if apierrors.IsUnauthorized(err) || err == nil || !strings.Contains(err.Error(), "does not accept the agent's service account") {
			t.Errorf("error %v", err)
		}
	})
}

// accountAlone: what a mistake of the agent could reach with the account's token.
func accountAlone(t *testing.T, config *rest.Config, account func(context.Context) (string, error)) {
	token, err := account(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, who := range map[string]rest.ImpersonationConfig{
		"itself":            {},
		"masters":           {UserName: alice, Groups: []string{"system:masters"}},
		"a service account": {UserName: "system:serviceaccount:azure-arc:fairlead-agent"},
		"another kind":      {UserName: alice, Extra: map[string][]string{link.ExtraKind: {"Agent"}}},
		"another extra":     {UserName: alice, Extra: map[string][]string{"scopes": {"x"}}},
	} {
		cfg := rest.AnonymousClientConfig(config)
		cfg.BearerToken, cfg.Impersonate = token, who
		client, err := kubernetes.NewForConfig(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
			t.Errorf("as %s: %v", name, err)
		}
	}
}

func TestHandleRefusesOtherTargets(t *testing.T) {
	s, err := New(&rest.Config{Host: "https://127.0.0.1:1"}, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	near, far := net.Pipe()
	go s.Handle(t.Context(), link.Target{Kind: link.KindRun, Namespace: "x"}, far)
	line, err := bufio.NewReader(near).ReadString('\n')
	if err != nil || !strings.Contains(line, `not \"run\"`) {
		t.Errorf("%q, %v", line, err)
	}
}
