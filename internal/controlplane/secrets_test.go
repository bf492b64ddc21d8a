package controlplane

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
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"fairlead.dev/fairlead/api/commonruntime"
	"fairlead.dev/fairlead/internal/controlplane/issuer"
	"fairlead.dev/fairlead/internal/controlplane/seal"
	"fairlead.dev/fairlead/internal/link"
	"fairlead.dev/fairlead/internal/testing/pgtest"
)

// desiredUntil reads a cluster's whole desired map and on until it has a key of that prefix, and returns all values read.
func (r *running) desiredUntil(token, prefix string) map[string]json.RawMessage {
	r.t.Helper()
	ctx, cancel := context.WithCancel(r.t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", publicURL+link.DesiredPath, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := r.client.Do(req)
	if err != nil || res.StatusCode != 200 {
		r.t.Fatal(res, err)
	}
	defer res.Body.Close()
	values, found, whole := map[string]json.RawMessage{}, false, false
	for sc := bufio.NewScanner(res.Body); sc.Scan(); {
		e, err := link.ParseEvent(sc.Bytes())
		if err != nil {
			r.t.Fatal(err)
		}
		if e.Type == link.EventPut {
			values[e.Key] = e.Value
			found = found || strings.HasPrefix(e.Key, prefix)
		}
		whole = whole || e.Type == link.EventBookmark
		if found && whole {
			return values
		}
	}
	r.t.Fatalf("the stream ended without %s", prefix)
	return nil
}

// observe posts what an agent sees.
func (r *running) observe(token, key string, v any) {
	r.t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		r.t.Fatal(err)
	}
	r.must(204, "POST", link.ObservedPath, token, fmt.Sprintf(`{"values":[{"key":%q,"value":%s}]}`, key, raw))
}

// succeeded waits until a resource is provisioned.
func (r *running) succeeded(id, token string) {
	r.t.Helper()
	for state := ""; state != "Succeeded"; {
		props := r.must(200, "GET", id, token, "")["properties"].(map[string]any)
		if state = props["provisioningState"].(string); state == "Failed" {
			r.t.Fatalf("%s: %v", id, props)
		}
	}
}

// lab makes all that a job needs: cluster edge with training (told is what it hears of the extension), and workspace lab
// with compute k8s and environment e:1. agent is the cluster's token.
func (r *running) lab(tok, setting string) (ws, agent string, told link.Extension) {
	r.t.Helper()
	group := "/subscriptions/" + r.admin.SubscriptionID + "/resourceGroups/rg"
	r.must(201, "PUT", group, tok, `{}`)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		r.t.Fatal(err)
	}
	edge := group + "/providers/Microsoft.Kubernetes/connectedClusters/edge"
	r.must(201, "PUT", edge, tok, `{"properties":{"agentPublicKeyCertificate":"`+base64.StdEncoding.EncodeToString(x509.MarshalPKCS1PublicKey(&key.PublicKey))+`"}}`)
	_, m := r.token(url.Values{"client_assertion_type": {issuer.AssertionType}, "client_assertion": {assertion(r.t, key, edge, r.admin.TenantID)}})
	agent = m["access_token"].(string)
	small := map[string]string{"cpu": "1", "memory": "2Gi"}
	r.observe(agent, link.KeyCluster, link.ClusterStatus{AgentVersion: "0.1.0", TotalNodeCount: 1})
	r.observe(agent, link.KeyNodes, link.NodesStatus{Namespaces: []string{"default"}, InstanceTypes: []link.InstanceType{{Name: "defaultinstancetype", Requests: small, Limits: small}}})

	ext := edge + "/providers/Microsoft.KubernetesConfiguration/extensions/ml"
	r.must(201, "PUT", ext, tok, `{"properties":{"extensionType":"Microsoft.AzureML.Kubernetes","configurationSettings":{"enableTraining":true},"configurationProtectedSettings":{"servicebus.connectionString":"`+setting+`"}}}`)
	if err := json.Unmarshal(r.desiredUntil(agent, "extension/ml")["extension/ml"], &told); err != nil {
		r.t.Fatal(err)
	}
	r.observe(agent, "extension/ml", link.ExtensionStatus{Generation: told.Generation, State: link.ExtensionInstalled})
	r.succeeded(ext, tok)
	ws = group + "/providers/Microsoft.MachineLearningServices/workspaces/lab"
	r.must(201, "PUT", ws, tok, `{"properties":{}}`)
	r.must(201, "PUT", ws+"/environments/e/versions/1", tok, `{"properties":{"image":"docker.io/library/python:3"}}`)
	r.must(201, "PUT", ws+"/computes/k8s", tok, `{"properties":{"computeType":"Kubernetes","resourceId":"`+edge+`","properties":{"namespace":"default"}}}`)
	r.succeeded(ws+"/computes/k8s", tok)
	return ws, agent, told
}

// TestSecretsAtRest: what a cluster is told in confidence reaches it, and is nowhere in the database in clear; also after
// the keys were rotated.
func TestSecretsAtRest(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	r := start(t, dir)
	tok := r.adminToken()
	const setting = "correct-horse-battery-staple"
	ws, agent, told := r.lab(tok, setting)
	if told.ProtectedSettings["servicebus.connectionString"] != setting {
		t.Errorf("the cluster was told %+v", told)
	}
	r.must(201, "PUT", ws+"/jobs/j", tok, `{"properties":{"jobType":"Command","command":"true","environmentId":"azureml:e:1","computeId":"k8s"}}`)
	values := r.desiredUntil(agent, link.PrefixJob)
	secrets := []string{setting}
	for k, v := range values {
		var j link.Job
		if err := json.Unmarshal(v, &j); err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(k, link.PrefixJob) {
			secrets = append(secrets, j.Secret[commonruntime.SecretToken], j.Secret[commonruntime.SecretLogKey])
		}
	}
	if len(secrets) != 3 || secrets[1] == "" || secrets[2] == "" {
		t.Fatalf("%d secrets", len(secrets))
	}
	noneIn(t, dir, secrets)
	r.stop()
	noneIn(t, dir, secrets)
	if _, err := seal.Rotate(filepath.Join(dir, "seal.key")); err != nil {
		t.Fatal(err)
	}
	r = start(t, dir)
	if diff := cmp.Diff(values, r.desiredUntil(agent, link.PrefixJob)); diff != "" {
		t.Errorf("after the rotation: %s", diff)
	}
}

// TestSecretsAtRest_PostgreSQL looks into every row of every table.
func TestSecretsAtRest_PostgreSQL(t *testing.T) {
	dsn := pgtest.Start(t).NewDatabase(t)
	r := startWith(t, Config{DataDir: filepath.Join(t.TempDir(), "data"), Store: dsn})
	const setting = "correct-horse-battery-staple"
	_, _, told := r.lab(r.adminToken(), setting)
	if told.ProtectedSettings["servicebus.connectionString"] != setting {
		t.Errorf("the cluster was told %+v", told)
	}
	db, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close(t.Context())
	rows, err := db.Query(t.Context(), "SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')")
	if err != nil {
		t.Fatal(err)
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, table := range tables {
		data := dump(t, db, table)
		found = found || bytes.Contains(data, []byte("/computes/k8s"))
		for _, text := range []string{setting, base64.StdEncoding.EncodeToString([]byte(setting))} {
			if bytes.Contains(data, []byte(text)) {
				t.Errorf("table %s holds the setting in clear", table)
			}
		}
	}
	if !found {
		t.Errorf("no resource is in tables %v", tables)
	}
}

// dump is all that a table holds.
func dump(t *testing.T, db *pgx.Conn, table string) []byte {
	t.Helper()
	rows, err := db.Query(t.Context(), "SELECT * FROM "+table)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var out bytes.Buffer
	for rows.Next() {
		for _, value := range rows.RawValues() { // texts, JSON and bytes as they are
			out.Write(value)
			out.WriteByte('\n')
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// noneIn looks into the database and what lies beside it (the log of writes), for texts as they are and in base64.
func noneIn(t *testing.T, dir string, texts []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "fairlead.db*"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	resource := false
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		resource = resource || bytes.Contains(data, []byte("/computes/k8s"))
		for i, s := range texts {
			if bytes.Contains(data, []byte(s)) || bytes.Contains(data, []byte(base64.StdEncoding.EncodeToString([]byte(s)))) {
				t.Errorf("%s holds secret %d in clear", filepath.Base(f), i)
			}
		}
	}
	if !resource {
		t.Error("the database was not found where it should be")
	}
}
