package bench

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"fairlead.dev/fairlead/internal/link"
)

const apiVersion = "?api-version=2024-04-01"

// lab makes all that a job needs and returns the workspace's id. Its cluster is played by a goroutine: it holds the stream of
// desired values open, as an agent does, and says every few seconds that it is well.
func (s *server) lab(b *testing.B) string {
	b.Helper()
	ctx := b.Context()
	put := func(id, body string) {
		if _, err := s.do(ctx, http.MethodPut, id+apiVersion, body); err != nil {
			b.Fatal(err)
		}
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		b.Fatal(err)
	}
	edge := s.group + "/providers/Microsoft.Kubernetes/connectedClusters/edge"
	put(s.group, `{"location":"local"}`)
	put(edge, fmt.Sprintf(`{"location":"local","properties":{"agentPublicKeyCertificate":%q}}`, base64.StdEncoding.EncodeToString(x509.MarshalPKCS1PublicKey(&key.PublicKey))))
	agent := s.agent(b, edge, key)
	ext := edge + "/providers/Microsoft.KubernetesConfiguration/extensions/ml"
	put(ext, `{"properties":{"extensionType":"Microsoft.AzureML.Kubernetes","configurationSettings":{"enableTraining":"True"}}}`)
	agent.run(b)
	s.await(b, ext)
	ws := s.group + "/providers/Microsoft.MachineLearningServices/workspaces/lab"
	put(ws, `{"location":"local","properties":{}}`)
	put(ws+"/environments/e/versions/1", `{"properties":{"image":"docker.io/library/python:3"}}`)
	put(ws+"/computes/k8s", fmt.Sprintf(`{"location":"local","properties":{"computeType":"Kubernetes","resourceId":%q,"properties":{"namespace":"default"}}}`, edge))
	s.await(b, ws+"/computes/k8s")
	return ws
}

// await waits until a resource is provisioned.
func (s *server) await(b *testing.B, id string) {
	b.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; <-time.After(20 * time.Millisecond) {
		raw, err := s.do(b.Context(), http.MethodGet, id+apiVersion, "")
		if err != nil {
			b.Fatal(err)
		}
		var got struct {
			Properties struct{ ProvisioningState string }
		}
		if err := json.Unmarshal(raw, &got); err != nil {
			b.Fatal(err)
		}
		switch state := got.Properties.ProvisioningState; {
		case state == "Succeeded":
			return
		case state == "Failed" || time.Now().After(deadline):
			b.Fatalf("%s is %s: %s", id, state, raw)
		}
	}
}

// agent plays a cluster.
type agent struct{ client }

// agent is the client of a cluster, by its key.
func (s *server) agent(b *testing.B, cluster string, key *rsa.PrivateKey) agent {
	b.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: key}, nil)
	if err != nil {
		b.Fatal(err)
	}
	now := time.Now()
	assertion, err := jwt.Signed(signer).Claims(jwt.Claims{Issuer: cluster, Subject: cluster, ID: "1", Audience: jwt.Audience{s.base + "/" + s.tenant + "/oauth2/v2.0/token"},
		IssuedAt: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(5 * time.Minute))}).Serialize()
	if err != nil {
		b.Fatal(err)
	}
	a := agent{s.client}
	if err := a.tokenOf(s.tenant, url.Values{"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}, "client_assertion": {assertion}}); err != nil {
		b.Fatal(err)
	}
	return a
}

// run plays the cluster until the benchmark ends.
func (a agent) run(b *testing.B) {
	a.wellAndHasNodes(b)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	b.Cleanup(func() { cancel(); wg.Wait() })
	wg.Go(func() {
		if err := a.follow(ctx); err != nil && ctx.Err() == nil {
			b.Error(err)
		}
	})
	wg.Go(func() {
		for tick := time.NewTicker(link.HeartbeatIntervalSeconds * time.Second); ; {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if err := a.observe(ctx, link.KeyCluster, link.ClusterStatus{AgentVersion: "bench", TotalNodeCount: 1}); err != nil && ctx.Err() == nil {
				b.Error(err)
			}
		}
	})
}

func (a agent) wellAndHasNodes(b *testing.B) {
	b.Helper()
	small := map[string]string{"cpu": "1", "memory": "2Gi"}
	for key, v := range map[string]any{
		link.KeyCluster: link.ClusterStatus{AgentVersion: "bench", TotalNodeCount: 1},
		link.KeyNodes: link.NodesStatus{Namespaces: []string{"default"}, InstanceTypes: []link.InstanceType{
			{Name: "defaultinstancetype", Requests: small, Limits: small}}},
	} {
		if err := a.observe(b.Context(), key, v); err != nil {
			b.Fatal(err)
		}
	}
}

func (a agent) observe(ctx context.Context, key string, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = a.do(ctx, http.MethodPost, link.ObservedPath, fmt.Sprintf(`{"values":[{"key":%q,"value":%s}]}`, key, raw))
	return err
}

// follow reads the desired values as they come, and installs what extension is asked for.
func (a agent) follow(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.base+link.DesiredPath, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+a.token)
	res, err := a.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if !strings.Contains(lines.Text(), `"extension/`) {
			continue
		}
		e, err := link.ParseEvent(lines.Bytes())
		if err != nil || e.Type != link.EventPut {
			return err
		}
		var told link.Extension
		if err := json.Unmarshal(e.Value, &told); err != nil {
			return err
		}
		if err := a.observe(ctx, e.Key, link.ExtensionStatus{Generation: told.Generation, State: link.ExtensionInstalled}); err != nil {
			return err
		}
	}
	return lines.Err()
}
