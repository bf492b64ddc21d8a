package cli_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/uuid"

	"fairlead.dev/fairlead/api/commonruntime"
	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/internal/cli"
	"fairlead.dev/fairlead/internal/link"
)

// sim is a cluster that is not there: it speaks the link's protocol as agent and components do, says that extensions
// are installed and "runs" jobs by echoing their command into their log and outputs. A command with "fail" in it fails.
type sim struct {
	in     cli.AgentInstall
	key    *rsa.PrivateKey
	client *http.Client
	token  string
	// router is nil until an extension with inference is there; routerAt is its address.
	router   *simRouter
	routerAt string
}

func newSim(in cli.AgentInstall) (*sim, error) {
	block, _ := pem.Decode(in.PrivateKeyPEM)
	if block == nil {
		return nil, fmt.Errorf("no private key")
	}
	key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(in.CAPEM)
	return &sim{in: in, key: key, client: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}}, nil
}

// loadSim reads what the installer kept.
func loadSim(file string) (*sim, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var in cli.AgentInstall
	in.Progress = nil
	if err := json.Unmarshal(data, &in); err != nil {
		return nil, err
	}
	return newSim(in)
}

func (s *sim) login(ctx context.Context) error {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: s.key}, nil)
	if err != nil {
		return err
	}
	address, now := s.in.Endpoint+"/"+s.in.TenantID+"/oauth2/v2.0/token", time.Now()
	assertion, err := jwt.Signed(signer).Claims(jwt.Claims{Issuer: s.in.ClusterID, Subject: s.in.ClusterID, ID: uuid.NewString(), Audience: jwt.Audience{address},
		IssuedAt: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(5 * time.Minute))}).Serialize()
	if err != nil {
		return err
	}
	form := url.Values{"grant_type": {"client_credentials"}, "scope": {s.in.Endpoint + "/.default"}, "client_assertion": {assertion},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}}
	body, err := s.send(ctx, http.MethodPost, address, http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	var t struct {
		AccessToken string `json:"access_token"`
	}
	err = json.Unmarshal(body, &t)
	s.token = t.AccessToken
	return err
}

func (s *sim) send(ctx context.Context, method, address string, h http.Header, r io.Reader) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, address, r)
	if err != nil {
		return nil, err
	}
	req.Header = h
	res, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s: %s", method, address, res.Status, body)
	}
	return body, err
}

func (s *sim) observe(ctx context.Context, values map[string]any) error {
	var req link.ObservedRequest
	for k, v := range values {
		raw, err := json.Marshal(v)
		if err != nil {
			return err
		}
		req.Values = append(req.Values, link.Value{Key: k, Value: raw})
	}
	body, err := json.Marshal(req)
	if err != nil {
		return err
	}
	h := http.Header{"Authorization": {"Bearer " + s.token}, "Content-Type": {"application/json"}}
	_, err = s.send(ctx, http.MethodPost, s.in.Endpoint+link.ObservedPath, h, bytes.NewReader(body))
	return err
}

func (s *sim) status() link.ClusterStatus {
	return link.ClusterStatus{AgentVersion: "0.1.0", AgentKey: link.KeyID(&s.key.PublicKey), KubernetesVersion: "1.36.3", Distribution: "k3s", Infrastructure: "generic", TotalNodeCount: 2, TotalCoreCount: 4}
}

// hello is the first heartbeat, with nodes.
func (s *sim) hello(ctx context.Context) error {
	if err := s.login(ctx); err != nil {
		return err
	}
	return s.observe(ctx, map[string]any{
		link.KeyCluster: s.status(),
		link.KeyNodes: link.NodesStatus{Namespaces: []string{"default"}, Nodes: []link.Node{{Name: "n1", Ready: true, Allocatable: map[string]string{"cpu": "4", "memory": "8Gi"}}},
			InstanceTypes: []link.InstanceType{{Name: "defaultinstancetype", Requests: map[string]string{"cpu": "100m", "memory": "500Mi"}, Limits: map[string]string{"cpu": "2", "memory": "4Gi"}}}},
	})
}

// beat keeps the cluster Connected.
func (s *sim) beat(ctx context.Context) {
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		_ = s.observe(ctx, map[string]any{link.KeyCluster: s.status()}) // the next one comes soon
	}
}

// run follows the desired map until ctx ends.
func (s *sim) run(ctx context.Context) error {
	if err := s.hello(ctx); err != nil {
		return err
	}
	go s.beat(ctx)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.in.Endpoint+link.DesiredPath, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	res, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	seen := map[string]bool{}
	lines := bufio.NewReader(res.Body)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return err
		}
		var e link.Event
		if err := json.Unmarshal(line, &e); err != nil {
			return err
		}
		if e.Type != link.EventPut && e.Type != link.EventDelete {
			continue
		}
		if err := s.act(ctx, e, seen); err != nil {
			return err
		}
	}
}

func (s *sim) act(ctx context.Context, e link.Event, seen map[string]bool) error {
	switch {
	case strings.HasPrefix(e.Key, link.PrefixExtension) && e.Type == link.EventDelete:
		return s.observe(ctx, map[string]any{e.Key: link.ExtensionStatus{State: link.ExtensionRemoved}, link.KeyCluster: s.status()})
	case strings.HasPrefix(e.Key, link.PrefixExtension):
		var x link.Extension
		if err := json.Unmarshal(e.Value, &x); err != nil {
			return err
		}
		if x.Settings["enableInference"] == "True" {
			if err := s.route(ctx); err != nil {
				return err
			}
		}
		return s.observe(ctx, map[string]any{e.Key: link.ExtensionStatus{Generation: x.Generation, State: link.ExtensionInstalled, Version: "0.1.0"}})
	case (strings.HasPrefix(e.Key, link.PrefixEndpoint) || strings.HasPrefix(e.Key, link.PrefixDeployment)) && e.Type == link.EventPut:
		return s.serve(ctx, e)
	case strings.HasPrefix(e.Key, link.PrefixJob) && e.Type == link.EventPut:
		var j link.Job
		if err := json.Unmarshal(e.Value, &j); err != nil {
			return err
		}
		var spec v1alpha1.AmlJobSpec
		if err := json.Unmarshal(j.Spec, &spec); err != nil {
			return err
		}
		if spec.Job.Cancel {
			return s.observe(ctx, map[string]any{e.Key: link.JobStatus{ID: j.ID, State: "Canceled"}})
		}
		if seen[e.Key] {
			return nil
		}
		seen[e.Key] = true
		return s.runJob(ctx, e.Key, j, spec)
	}
	return nil
}

func (s *sim) runJob(ctx context.Context, key string, j link.Job, spec v1alpha1.AmlJobSpec) error {
	var doc commonruntime.JobSpec
	if err := json.Unmarshal(spec.Job.Options.CommonRuntimeJobSpec, &doc); err != nil {
		return err
	}
	if strings.Contains(doc.Command, "wait") {
		return s.observe(ctx, map[string]any{key: link.JobStatus{ID: j.ID, State: "Queued", Reason: "Unschedulable", Message: "no node has 400 GPUs"}})
	}
	now := time.Now().UTC().Format(time.RFC3339)
	if err := s.observe(ctx, map[string]any{key: link.JobStatus{ID: j.ID, State: "Running", StartTime: now}}); err != nil {
		return err
	}
	h := func() http.Header {
		return http.Header{"Authorization": {"Bearer " + j.Secret[commonruntime.SecretToken]}, "X-Ms-Blob-Type": {"BlockBlob"}, "X-Ms-Version": {"2021-12-02"}}
	}
	log := "running " + doc.Command + "\n"
	for name, in := range doc.Inputs {
		if in.Type == "uri_file" {
			data, err := s.send(ctx, http.MethodGet, in.URL, h(), nil)
			if err != nil {
				return err
			}
			log += "input " + name + ": " + string(data) + "\n"
		}
	}
	files := map[string]string{doc.Artifacts + "/" + commonruntime.StdLogPath: log, doc.Artifacts + "/outputs/metrics.json": "{}"}
	for _, out := range doc.Outputs {
		files[out.URL+"/model.txt"] = "weights"
	}
	for address, content := range files {
		if _, err := s.send(ctx, http.MethodPut, address, h(), strings.NewReader(content)); err != nil {
			return err
		}
	}
	if err := s.measure(ctx, key); err != nil {
		return err
	}
	if err := s.collectLog(ctx, j, log); err != nil {
		return err
	}
	code, end := 0, link.JobStatus{ID: j.ID, State: "Completed", StartTime: now, EndTime: now}
	if strings.Contains(doc.Command, "fail") {
		code = 3
		end.State, end.Reason, end.Message = "Failed", "NonZeroExit", "The command ended with exit code 3."
	}
	end.ExitCode = &code
	return s.observe(ctx, map[string]any{key: end})
}

// measure tells what a job used in the minute that it ran in.
func (s *sim) measure(ctx context.Context, key string) error {
	body, err := json.Marshal(link.MetricsRequest{Samples: []link.Sample{{Key: key, Time: time.Now().Truncate(time.Minute).Add(time.Minute),
		Values: map[string]float64{link.MetricCPU: 750, link.MetricCPUCapacity: 1000, link.MetricMemory: 99.5}}}})
	if err != nil {
		return err
	}
	_, err = s.send(ctx, http.MethodPost, s.in.Endpoint+link.MetricsPath, http.Header{"Authorization": {"Bearer " + s.token}}, bytes.NewReader(body))
	return err
}

// collectLog posts what a job wrote as the cluster's log collector does.
func (s *sim) collectLog(ctx context.Context, j link.Job, log string) error {
	c := link.LogChunk{To: link.LogCursor{File: "f", Offset: int64(len(log))}, LogStream: link.LogStream{Namespace: j.Namespace, Pod: "job-" + j.ID[:4], UID: j.ID, Container: "main",
		Job: j.Labels["ml.azure.com/run-id"], Workspace: j.Labels["ml.azure.com/workspace"]}}
	for line := range strings.Lines(log) {
		c.Lines = append(c.Lines, link.LogLine{Time: time.Now(), Source: "stdout", Text: strings.TrimSuffix(line, "\n")})
	}
	body, err := json.Marshal(link.LogsRequest{Chunks: []link.LogChunk{c}})
	if err != nil {
		return err
	}
	h := http.Header{"Authorization": {"Bearer " + s.token}, "Content-Type": {"application/json"}}
	_, err = s.send(ctx, http.MethodPost, s.in.Endpoint+link.LogsPath, h, bytes.NewReader(body))
	return err
}
