//go:build cluster

package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/local"
	"fairlead.dev/fairlead/internal/testing/certtest"
)

// constant is a model that needs no job.
const constant = `name: blue
endpoint_name: constant
code_configuration: {code: src, scoring_script: score.py}
environment: {image: fairlead/python-ml:bookworm}
instance_count: 1
resources: {requests: {cpu: 50m, memory: 128Mi}}
`

// sslName is what the router's certificate is for, in no DNS; sslSecret holds it.
const sslName, sslSecret = "ml.example.com", "e2e-router-tls"

// routerStep is an update of the extension and what it comes to.
type routerStep struct {
	config string
	// service is the Service's type, internal says that it has the annotation of an internal load balancer.
	service  string
	internal bool
	https    bool
	routers  int
}

// routerSteps go through every type of Service over HTTP with training, then over HTTPS without. What one sets stays.
var routerSteps = []routerStep{
	{"enableInference=True allowInsecureConnections=True inferenceRouterHA=False inferenceRouterServiceType=clusterIP", "ClusterIP", false, false, 1},
	{"inferenceRouterHA=True", "ClusterIP", false, false, 3},
	{"inferenceRouterServiceType=nodePort", "NodePort", false, false, 3},
	{"inferenceRouterServiceType=loadBalancer", "LoadBalancer", false, false, 3},
	{"internalLoadBalancerProvider=azure", "LoadBalancer", true, false, 3},
	{"enableTraining=False allowInsecureConnections=False sslSecret=" + sslSecret + " sslCname=" + sslName, "LoadBalancer", true, true, 3},
	{"internalLoadBalancerProvider=", "LoadBalancer", false, true, 3},
	{"inferenceRouterServiceType=nodePort", "NodePort", false, true, 3},
	{"inferenceRouterServiceType=clusterIP", "ClusterIP", false, true, 3},
}

// TestFault_RouterNodeLost serves a model through every type of Service, from routers on three nodes, over HTTP and then over HTTPS; each
// time the cluster has exactly the rows of its settings. Then one of the nodes dies, and the two other routers go on.
func TestFault_RouterNodeLost(t *testing.T) {
	t.Cleanup(func() { // when the added nodes take no pods any more
		_, deleted := cli(ml("online-endpoint", "delete", "-n", "constant", "--yes")...)
		_, updated := cli(extensionCommand("update", "--config", "enableInference=False", "enableTraining=True", "inferenceRouterServiceType=nodePort",
			"internalLoadBalancerProvider=", "allowInsecureConnections=", "sslSecret=", "sslCname=", "--yes")...)
		if err := errors.Join(deleted, updated); err != nil {
			t.Fatal(err)
		}
		hasRows(t, trained())
	})
	threeNodes(t)
	b := newBalancer(t)
	roots := routerCertificate(t)
	hosts := map[string]string{} // that scoring_uri named over HTTP, by type of Service: what DNS would say of the certificate's name
	settings := trained()
	var o online
	for _, s := range routerSteps {
		must(t, extensionCommand("update", append(append([]string{"--config"}, strings.Fields(s.config)...), "--yes")...)...)
		for pair := range strings.FieldsSeq(s.config) {
			name, value, _ := strings.Cut(pair, "=")
			settings[name] = value
		}
		hasRows(t, settings)
		b.assign()
		if o.key == "" {
			o = serveConstant(t)
		}
		hasService(t, s)
		o = o.at(t, s, hosts, roots)
		eventually(t, startLimit, "an answer from "+o.uri, o.scores)
		eachRouter(t, o, s)
	}

	killNode(t, dying)
	eventually(t, startLimit, "an answer when a router's node died", o.scores)
	eventually(t, lossMax, "the node's loss is seen", func(context.Context) error {
		out, err := cli("kubectl", "get", "node", local.NodeName(dying), "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`)
		if err == nil && out != "Unknown" {
			err = fmt.Errorf("Ready is %s", out)
		}
		return err
	})
	eventually(t, startLimit, "30 connections in a row that are answered", func(ctx context.Context) error {
		for range 30 {
			if err := o.scores(ctx); err != nil {
				return err
			}
		}
		return nil
	})
}

// serveConstant makes an endpoint whose only pod is on a node that stays.
func serveConstant(t *testing.T) online {
	t.Helper()
	kubectl(t, "cordon", local.NodeName(dying))
	defer kubectl(t, "uncordon", local.NodeName(dying))
	dir := t.TempDir()
	write(t, dir, "src/score.py", "def init():\n    pass\n\ndef run(data):\n    return [42]\n")
	write(t, dir, "endpoint.yml", "name: constant\nauth_mode: key\ncompute: azureml:"+compute+"\n")
	write(t, dir, "blue.yml", constant)
	must(t, ml("online-endpoint", "create", "-f", filepath.Join(dir, "endpoint.yml"), "-o", "none")...)
	must(t, ml("online-deployment", "create", "-f", filepath.Join(dir, "blue.yml"), "--all-traffic", "-o", "none")...)
	return online{body: []byte("{}"), answer: "[42]",
		key: strings.TrimSpace(must(t, ml("online-endpoint", "get-credentials", "-n", "constant", "--query", "primaryKey", "-o", "tsv")...))}
}

// hasService checks the router's Service.
func hasService(t *testing.T, s routerStep) {
	t.Helper()
	const annotation = `{.metadata.annotations.service\.beta\.kubernetes\.io/azure-load-balancer-internal}`
	want := fmt.Sprintf("%s %s %s", s.service, map[bool]string{true: "https", false: "http"}[s.https], map[bool]string{true: "true"}[s.internal])
	if got := kubectl(t, "get", "service", "azureml-fe", "-n", "azureml", "-o", "jsonpath={.spec.type} {.spec.ports[*].name} "+annotation); got != want {
		t.Fatalf("after %s the Service is %q, want %q", s.config, got, want)
	}
}

// at waits for the scoring_uri that a step comes to and gives the way there, with a connection for each request.
func (o online) at(t *testing.T, s routerStep, hosts map[string]string, roots *x509.CertPool) online {
	t.Helper()
	kind := fmt.Sprintf("%s/%v", s.service, s.internal)
	config, err := local.LoadConfig(local.Folder(w.data))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, startLimit, "the scoring_uri of "+s.config, func(context.Context) error {
		o.uri = strings.TrimSpace(must(t, ml("online-endpoint", "show", "-n", "constant", "--query", "scoring_uri", "-o", "tsv")...))
		u, err := url.Parse(o.uri)
		if err != nil {
			return err
		}
		port, _ := strconv.Atoi(u.Port())
		host, _ := netip.ParseAddr(u.Hostname())
		right := map[string]bool{
			"ClusterIP":    port == 0 && (s.https || config.Plan.Services().Contains(host)),
			"NodePort":     port >= 30000 && (s.https || host == config.Plan.Node(0)),
			"LoadBalancer": port == 0 && (s.https || host == balanced(config)),
		}[s.service]
		if scheme := map[bool]string{true: "https", false: "http"}[s.https]; !right || u.Scheme != scheme || s.https && u.Hostname() != sslName {
			return errors.New(o.uri)
		}
		if !s.https {
			hosts[kind] = u.Hostname()
		}
		return nil
	})
	o.through = reaching(hosts[kind], roots)
	return o
}

// reaching goes to a host whatever name a request has, with a connection for each, and gives up connecting soon.
func reaching(host string, roots *x509.CertPool) http.RoundTripper {
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	return &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots}, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		return dialer.DialContext(ctx, network, net.JoinHostPort(host, port))
	}}
}

// eachRouter asks every router itself: there are as many as the step wants, each on a node of its own.
func eachRouter(t *testing.T, o online, s routerStep) {
	t.Helper()
	nodes := map[string]string{}
	for line := range strings.Lines(kubectl(t, "get", "pods", "-n", "azureml", "-l", "app.kubernetes.io/name=azureml-fe", "-o",
		`jsonpath={range .items[*]}{.spec.nodeName} {.status.podIP}{"\n"}{end}`)) {
		node, ip, _ := strings.Cut(strings.TrimSpace(line), " ")
		nodes[node] = ip
	}
	if len(nodes) != s.routers {
		t.Fatalf("after %s routers are on %v, want %d nodes", s.config, slices.Sorted(maps.Keys(nodes)), s.routers)
	}
	u, err := url.Parse(o.uri)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = u.Hostname() + map[bool]string{true: ":8443", false: ":8080"}[s.https]
	o.uri = u.String()
	transport, ok := o.through.(*http.Transport)
	if !ok {
		t.Fatal("not a transport")
	}
	for node, ip := range nodes {
		o.through = reaching(ip, transport.TLSClientConfig.RootCAs)
		eventually(t, startLimit, "an answer of the router on "+node, o.scores)
	}
}

// routerCertificate makes the Secret that sslSecret names, and trusts what is in it.
func routerCertificate(t *testing.T) *x509.CertPool {
	t.Helper()
	cert, key, err := certtest.Pair(time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour), sslName)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write(t, dir, "cert.pem", string(cert))
	write(t, dir, "key.pem", string(key))
	kubectl(t, "create", "secret", "generic", sslSecret, "-n", "azureml", "--from-file="+filepath.Join(dir, "cert.pem"), "--from-file="+filepath.Join(dir, "key.pem"))
	t.Cleanup(func() { kubectl(t, "delete", "secret", sslSecret, "-n", "azureml") })
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cert)
	return roots
}

// balancer does by hand what a cluster's load balancers do: it gives Services an address, which node 0 takes packets for.
type balancer struct {
	t       *testing.T
	address string
}

// balanced is an address of the cluster's network that nothing else has.
func balanced(c local.Config) netip.Addr {
	b := c.Plan.Base.Addr().As4()
	b[2], b[3] = 200, 1
	return netip.AddrFrom4(b)
}

// newBalancer lets the cluster look like one of Azure's whose load balancers work: one node says whose it is, which cannot be taken back
// and matters to nothing else, and a Service has an address.
func newBalancer(t *testing.T) balancer {
	t.Helper()
	config, err := local.LoadConfig(local.Folder(w.data))
	if err != nil {
		t.Fatal(err)
	}
	b := balancer{t, balanced(config).String()}
	route := func(verb string) ([]byte, error) {
		return exec.Command("ip", "route", verb, b.address, "via", config.Plan.Node(0).String()).CombinedOutput()
	}
	if out, err := route("replace"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() { _, _ = route("del") })
	kubectl(t, "patch", "node", local.NodeName(dying), "-p", `{"spec": {"providerID": "azure:///fairlead/e2e"}}`)
	return b
}

// assign gives the router's Service the address if it wants one.
func (b balancer) assign() {
	b.t.Helper()
	if kubectl(b.t, "get", "service", "azureml-fe", "-n", "azureml", "-o", "jsonpath={.spec.type}") == "LoadBalancer" {
		kubectl(b.t, "patch", "service", "azureml-fe", "-n", "azureml", "--subresource=status", "--type=merge", "-p",
			fmt.Sprintf(`{"status": {"loadBalancer": {"ingress": [{"ip": %q}]}}}`, b.address))
	}
}
