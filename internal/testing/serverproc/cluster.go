package serverproc

import (
	"bufio"
	"bytes"
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

// cluster is a cluster that is played: it holds the stream of desired values open, as an agent does, says every few seconds that it
// is well, installs what extension it is asked for and ends jobs that are to be canceled. It runs none.
type cluster struct{ Client }

// PlayCluster registers a cluster by its id and plays it until the test ends. Its namespace is "default".
func (s *Server) PlayCluster(tb testing.TB, id string) {
	tb.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		tb.Fatal(err)
	}
	agent, err := s.Register(tb.Context(), id, key)
	if err != nil {
		tb.Fatal(err)
	}
	cluster{agent}.run(tb)
}

// Register makes a cluster of an id and a key, and returns the client that its agent would be.
func (s *Server) Register(ctx context.Context, id string, key *rsa.PrivateKey) (Client, error) {
	if _, err := s.Do(ctx, http.MethodPut, id+APIVersion, fmt.Sprintf(`{"location":"local","properties":{"agentPublicKeyCertificate":%q}}`,
		base64.StdEncoding.EncodeToString(x509.MarshalPKCS1PublicKey(&key.PublicKey)))); err != nil {
		return Client{}, err
	}
	agent := s.Client
	return agent, agent.logIn(s.TenantID, id, key)
}

// logIn proves who a cluster is by its key.
func (c *Client) logIn(tenant, id string, key *rsa.PrivateKey) error {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: key}, nil)
	if err != nil {
		return err
	}
	now := time.Now()
	assertion, err := jwt.Signed(signer).Claims(jwt.Claims{Issuer: id, Subject: id, ID: "1", Audience: jwt.Audience{c.Base + "/" + tenant + "/oauth2/v2.0/token"},
		IssuedAt: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(5 * time.Minute))}).Serialize()
	if err != nil {
		return err
	}
	return c.TokenOf(tenant, url.Values{"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}, "client_assertion": {assertion}})
}

func (c cluster) run(tb testing.TB) {
	small := map[string]string{"cpu": "1", "memory": "2Gi"}
	for key, v := range map[string]any{
		link.KeyCluster: link.ClusterStatus{AgentVersion: "test", TotalNodeCount: 1},
		link.KeyNodes: link.NodesStatus{Namespaces: []string{"default"}, InstanceTypes: []link.InstanceType{
			{Name: "defaultinstancetype", Requests: small, Limits: small}}},
	} {
		if err := c.observe(tb.Context(), key, v); err != nil {
			tb.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	tb.Cleanup(func() { cancel(); wg.Wait() })
	wg.Go(func() {
		if err := c.follow(ctx); err != nil && ctx.Err() == nil {
			tb.Error(err)
		}
	})
	wg.Go(func() {
		for tick := time.NewTicker(link.HeartbeatIntervalSeconds * time.Second); ; {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if err := c.observe(ctx, link.KeyCluster, link.ClusterStatus{AgentVersion: "test", TotalNodeCount: 1}); err != nil && ctx.Err() == nil {
				tb.Error(err)
			}
		}
	})
}

func (c cluster) observe(ctx context.Context, key string, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = c.Do(ctx, http.MethodPost, link.ObservedPath, fmt.Sprintf(`{"values":[{"key":%q,"value":%s}]}`, key, raw))
	return err
}

// follow reads the desired values as they come, and installs what extension is asked for.
func (c cluster) follow(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.Base+link.DesiredPath, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+c.Token)
	res, err := c.HTTP.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if !bytes.Contains(lines.Bytes(), []byte(`"extension/`)) && !bytes.Contains(lines.Bytes(), cancelMark) {
			continue // a load of jobs is not parsed for nothing
		}
		e, err := link.ParseEvent(lines.Bytes())
		if err != nil {
			return err
		}
		switch {
		case strings.HasPrefix(e.Key, link.PrefixJob) && e.Type == link.EventPut:
			err = c.cancel(ctx, e)
		case strings.HasPrefix(e.Key, link.PrefixExtension):
			err = c.install(ctx, e)
		}
		if err != nil {
			return err
		}
	}
	return lines.Err()
}

// cancelMark is in the desired value of a job that is to be canceled.
var cancelMark = []byte(`"cancel":true`)

func (c cluster) cancel(ctx context.Context, e link.Event) error {
	if !bytes.Contains(e.Value, cancelMark) {
		return nil
	}
	return c.observe(ctx, e.Key, link.JobStatus{ID: strings.TrimPrefix(e.Key, link.PrefixJob), State: "Canceled", Reason: "Canceled"})
}

// install says of an extension what it was asked for: that it is there, or that it is gone.
func (c cluster) install(ctx context.Context, e link.Event) error {
	switch e.Type {
	case link.EventDelete:
		return c.observe(ctx, e.Key, link.ExtensionStatus{State: link.ExtensionRemoved})
	case link.EventPut:
		var told link.Extension
		if err := json.Unmarshal(e.Value, &told); err != nil {
			return err
		}
		return c.observe(ctx, e.Key, link.ExtensionStatus{Generation: told.Generation, State: link.ExtensionInstalled})
	}
	return nil
}
