// Package kubeapi asks a Kubernetes API the few things that bringing up a cluster needs: whether it is ready, which nodes
// are, and that a manifest be applied. It needs no client library and so costs the program that uses it nothing.
package kubeapi

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

// Client reaches one API server.
type Client struct {
	base string
	http *http.Client
}

// New makes a client of the API at base (https://host:port) that trusts caFile and shows a certificate.
func New(base, caFile, certFile, keyFile string) (*Client, error) {
	ca, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("reading the API's authority: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	conf := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	if certFile != "" {
		pair, err := tls.LoadX509KeyPair(certFile, keyFile)
		if err != nil {
			return nil, fmt.Errorf("reading the client certificate: %w", err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	// No proxy: the API is on this machine.
	transport := &http.Transport{TLSClientConfig: conf, ForceAttemptHTTP2: true, IdleConnTimeout: 30 * time.Second}
	return &Client{base: strings.TrimSuffix(base, "/"), http: &http.Client{Transport: transport, Timeout: 10 * time.Second}}, nil
}

// Close ends idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Ready is nil when GET /readyz answers 200.
func (c *Client) Ready(ctx context.Context) error {
	_, err := c.do(ctx, http.MethodGet, "/readyz", "", nil)
	return err
}

// Serving is nil when the API answers at all.
func (c *Client) Serving(ctx context.Context) error {
	_, err := c.do(ctx, http.MethodGet, "/version", "", nil)
	return err
}

// Node is a node's name and whether Kubernetes calls it ready, else why not. Heartbeat is when its kubelet last said so.
type Node struct {
	Name      string    `json:"name"`
	Ready     bool      `json:"ready"`
	Reason    string    `json:"reason,omitempty"`
	Heartbeat time.Time `json:"heartbeat"`
}

// Nodes are the cluster's nodes.
func (c *Client) Nodes(ctx context.Context) ([]Node, error) {
	var list struct {
		Items []struct {
			Metadata struct{ Name string }
			Status   struct {
				Conditions []struct {
					Type, Status, Message string
					LastHeartbeatTime     time.Time
				}
			}
		}
	}
	if err := c.get(ctx, "/api/v1/nodes", &list); err != nil {
		return nil, err
	}
	var out []Node
	for _, i := range list.Items {
		n := Node{Name: i.Metadata.Name, Reason: "no status yet"}
		for _, cond := range i.Status.Conditions {
			if cond.Type == "Ready" {
				n.Ready, n.Reason, n.Heartbeat = cond.Status == "True", cond.Message, cond.LastHeartbeatTime
			}
		}
		if n.Ready {
			n.Reason = ""
		}
		out = append(out, n)
	}
	return out, nil
}

// NodesReady is nil when all the named nodes are ready by a heartbeat that is not older than since: after a crash, the API
// still has what the last kubelet said.
func (c *Client) NodesReady(ctx context.Context, names []string, since time.Time) error {
	nodes, err := c.Nodes(ctx)
	if err != nil {
		return err
	}
	known := map[string]Node{}
	for _, n := range nodes {
		known[n.Name] = n
	}
	for _, name := range names {
		if n, ok := known[name]; !ok {
			return fmt.Errorf("node %s has not registered", name)
		} else if !n.Ready {
			return fmt.Errorf("node %s is not ready: %s", name, n.Reason)
		} else if n.Heartbeat.Before(since.Truncate(time.Second)) {
			return fmt.Errorf("node %s has not reported since %s", name, n.Heartbeat.UTC().Format(time.TimeOnly))
		}
	}
	return nil
}

// resources maps the kinds that Apply knows to their place in the API; %s is the namespace.
var resources = map[string]string{
	"v1/ServiceAccount":  "/api/v1/namespaces/%s/serviceaccounts",
	"v1/ConfigMap":       "/api/v1/namespaces/%s/configmaps",
	"v1/Service":         "/api/v1/namespaces/%s/services",
	"apps/v1/Deployment": "/apis/apps/v1/namespaces/%s/deployments",
	"rbac.authorization.k8s.io/v1/ClusterRole":        "/apis/rbac.authorization.k8s.io/v1/clusterroles",
	"rbac.authorization.k8s.io/v1/ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
}

// Apply brings the documents of a YAML manifest to the cluster by server-side apply, as field manager "fairlead-local".
func (c *Client) Apply(ctx context.Context, manifest []byte) error {
	for _, doc := range bytes.Split(manifest, []byte("\n---\n")) {
		var o struct {
			APIVersion, Kind string
			Metadata         struct{ Name, Namespace string }
		}
		if err := yaml.Unmarshal(doc, &o); err != nil {
			return fmt.Errorf("reading a manifest: %w", err)
		}
		path, ok := resources[o.APIVersion+"/"+o.Kind]
		if !ok {
			return fmt.Errorf("applying %s %s: no path is known for %s", o.Kind, o.Metadata.Name, o.APIVersion)
		}
		if strings.Contains(path, "%s") {
			path = fmt.Sprintf(path, o.Metadata.Namespace)
		}
		path += "/" + o.Metadata.Name + "?fieldManager=fairlead-local&force=true"
		if _, err := c.do(ctx, http.MethodPatch, path, "application/apply-patch+yaml", doc); err != nil {
			return fmt.Errorf("applying %s %s: %w", o.Kind, o.Metadata.Name, err)
		}
	}
	return nil
}

// ErrNotFound is the API's answer for an object, or a kind of objects, that is not there.
var ErrNotFound = errors.New("not found")

// pageSize is how many objects a page of a list has at most.
const pageSize = 500

// Pages shows the list at a path, page by page as the API answers.
func (c *Client) Pages(ctx context.Context, path string, page func([]byte)) error {
	for next := ""; ; {
		data, err := c.do(ctx, http.MethodGet, fmt.Sprintf("%s?limit=%d&continue=%s", path, pageSize, url.QueryEscape(next)), "", nil)
		if err != nil {
			return err
		}
		page(data)
		var list struct{ Metadata struct{ Continue string } }
		if err := json.Unmarshal(data, &list); err != nil {
			return fmt.Errorf("reading the answer of %s: %w", path, err)
		}
		if next = list.Metadata.Continue; next == "" {
			return nil
		}
	}
}

func (c *Client) get(ctx context.Context, path string, v any) error {
	data, err := c.do(ctx, http.MethodGet, path, "", nil)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("reading the answer of %s: %w", path, err)
	}
	return nil
}

func (c *Client) do(ctx context.Context, method, path, contentType string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 32<<20))
	if err != nil {
		return nil, fmt.Errorf("reading the answer of %s: %w", path, err)
	}
	if resp.StatusCode >= 300 {
		return nil, statusError(resp.StatusCode, data)
	}
	return data, nil
}

// statusError takes the message out of a Kubernetes Status, or the first of a plain text.
func statusError(code int, body []byte) error {
	var st struct{ Message string }
	err := fmt.Errorf("HTTP %d: %.200s", code, bytes.TrimSpace(body))
	if json.Unmarshal(body, &st) == nil && st.Message != "" {
		err = errors.New(st.Message)
	}
	if code == http.StatusNotFound {
		err = fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	return err
}
