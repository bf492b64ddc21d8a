package types_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/api/machinelearning"
	"fairlead.dev/fairlead/internal/controlplane/types/serving"
	"fairlead.dev/fairlead/internal/controlplane/types/typestest"
	"fairlead.dev/fairlead/internal/link"
	"fairlead.dev/fairlead/internal/testing/certtest"
)

// fullDeployment says everything that a deployment may.
const fullDeployment = `{"kind":"x","sku":{"name":"Default","capacity":1},"tags":{"team":"x"},"properties":{"endpointComputeType":"kubernetes","description":"d",
 "environmentId":"azureml:server@latest","environmentVariables":{"A":"b"},"model":"azureml:digits:1","modelMountPath":"/var/models/",
 "codeConfiguration":{"codeId":"azureml:abc:1","scoringScript":"src/score.py"},"instanceType":"GPU","appInsightsEnabled":true,
 "scaleSettings":{"scaleType":"targetutilization","minInstances":0,"maxInstances":4,"pollingInterval":"PT10S","targetUtilizationPercentage":80},
 "requestSettings":{"requestTimeout":"PT1M","maxConcurrentRequestsPerInstance":3,"maxQueueWait":"PT0.25S"},
 "livenessProbe":{"initialDelay":"PT0S","period":"PT3S","timeout":"PT1S","failureThreshold":5},"readinessProbe":{"successThreshold":2},"startupProbe":{},
 "containerResourceRequirements":{"containerResourceRequests":{"cpu":"500m","memory":"1Gi"},"containerResourceLimits":{"cpu":"1","memory":"1Gi","gpu":"1"}}}}`

func TestGoldenOnline(t *testing.T) {
	e := typestest.New(t)
	e.Serving()
	ws := typestest.Workspace
	e.Put(ws+"/environments/server/versions/1", `{"properties":{"image":"docker.io/library/server:1","inferenceConfig":{"scoringRoute":{"path":"/v1/predict","port":8080},"livenessRoute":{"path":"/live","port":8081},"readinessRoute":{"path":"/ready","port":8080}}}}`)
	e.Put(typestest.Blue, typestest.BlueBody)
	e.Put(typestest.Endpoint+"/deployments/Green", fullDeployment)
	e.Put(typestest.Endpoint, `{"properties":{"compute":"k8s","description":"d","traffic":{"BLUE":90,"green":10}},"tags":{"a":"b"}}`)
	for name, id := range map[string]string{"onlineendpoint": typestest.Endpoint, "onlinedeployment": typestest.Blue,
		"onlinedeployment_full": typestest.Endpoint + "/deployments/Green", "environment_inference": ws + "/environments/server/versions/1"} {
		t.Run(name, func(t *testing.T) { golden(t, name, e.Show(id)) })
	}
	for name, id := range map[string]string{"onlinedeployment_skus": typestest.Blue, "onlinedeployment_skus_scaled": typestest.Endpoint + "/deployments/Green"} {
		v, err := e.Call(id, "skus", "")
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name, v)
	}
	st, err := serving.DecodeDeployment(e.Record(typestest.Endpoint + "/deployments/Green"))
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "onlinedeployment_spec", st.Spec)
	var told link.Endpoint
	if !e.Desired("endpoint/digits", &told) {
		t.Fatal("the cluster was not told of the endpoint")
	}
	var spec v1alpha1.OnlineEndpointSpec
	if err := json.Unmarshal(told.Spec, &spec); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]int32{"blue": 90, "green": 10}, spec.Traffic); diff != "" || told.Namespace != "train" || told.Labels["ml.azure.com/endpoint-name"] != "digits" {
		t.Errorf("told %+v, traffic %s", told, diff)
	}
}

// TestNoQueueWait: that requests wait for nothing is not the same as that nothing is said of it.
func TestNoQueueWait(t *testing.T) {
	for said, want := range map[string]int64{"": 500, `"requestSettings":{"maxQueueWait":"PT0S"},`: 0} {
		e := typestest.New(t)
		e.Serving()
		e.Put(typestest.Blue, strings.Replace(typestest.BlueBody, `"properties":{`, `"properties":{`+said, 1))
		st, err := serving.DecodeDeployment(e.Record(typestest.Blue))
		if err != nil {
			t.Fatal(err)
		}
		if got := st.Spec.Requests.MaxQueueWaitMilliseconds; got != want {
			t.Errorf("with %q requests wait %d ms, want %d", said, got, want)
		}
	}
}

func TestEndpointKeys(t *testing.T) {
	e := typestest.New(t)
	e.Serving()
	keys := func() machinelearning.EndpointAuthKeys {
		t.Helper()
		v, err := e.Call(typestest.Endpoint, "listKeys", "")
		if err != nil {
			t.Fatal(err)
		}
		return v.(machinelearning.EndpointAuthKeys)
	}
	hashes := func() []string {
		t.Helper()
		var told link.Endpoint
		var spec v1alpha1.OnlineEndpointSpec
		if !e.Desired("endpoint/digits", &told) || json.Unmarshal(told.Spec, &spec) != nil {
			t.Fatal("no desired endpoint")
		}
		return spec.Auth.KeyHashes
	}
	old := keys()
	if len(old.PrimaryKey) != 43 || old.PrimaryKey == old.SecondaryKey {
		t.Fatalf("keys %d and %d characters", len(old.PrimaryKey), len(old.SecondaryKey))
	}
	if diff := cmp.Diff([]string{serving.Hash(old.PrimaryKey), serving.Hash(old.SecondaryKey)}, hashes()); diff != "" {
		t.Error(diff)
	}
	rec := e.Record(typestest.Endpoint)
	for _, where := range [][]byte{rec.Body, rec.Internal, rec.Secret} {
		if strings.Contains(string(where), old.PrimaryKey) {
			t.Error("a key is stored in clear")
		}
	}
	if _, err := e.Call(typestest.Endpoint, "regenerateKeys", `{"keyType":"Secondary"}`); err != nil {
		t.Fatal(err)
	}
	now := keys()
	if now.PrimaryKey != old.PrimaryKey || now.SecondaryKey == old.SecondaryKey || hashes()[1] != serving.Hash(now.SecondaryKey) {
		t.Errorf("regenerated the wrong key: %v", hashes())
	}
	if e.Prop(typestest.Endpoint, "provisioningState") != "Updating" {
		t.Error("no operation was begun")
	}
	_, err := e.Call(typestest.Endpoint, "regenerateKeys", `{"keyType":"Primary"}`)
	code(t, err, 409, "Conflict", "already in progress")
	e.Set(typestest.Endpoint, map[string]any{"provisioningState": "Succeeded"})
	for body, want := range map[string]string{`{}`: "keyType is missing; it must be one of: Primary, Secondary", `{"keyType":"Third"}`: `keyType is "Third"`,
		`{"keyType":"Primary","keyValue":"short"}`: "keyValue has 5 characters; a key has 32 to 256", `{"keyType":"Primary","keyValue":"` + strings.Repeat("ä", 20) + `"}`: "no header may have"} {
		_, err := e.Call(typestest.Endpoint, "regenerateKeys", body)
		code(t, err, 400, "InvalidParameter", want)
	}
	_, err = e.Call(typestest.Endpoint, "token", "")
	code(t, err, 400, "BadRequest", "authMode Key; token is for endpoints with authMode AMLToken. Call listKeys.")
}

// code checks an error for the caller.
func code(t *testing.T, err error, status int, code, text string) {
	t.Helper()
	var ae *arm.Error
	if !errors.As(err, &ae) {
		t.Fatalf("error %v; want %s", err, code)
	}
	if ae.Status != status || ae.Code != code && code != "InvalidParameter" || !strings.Contains(ae.Message, text) {
		t.Errorf("%d %s: %s\nwant %d %s with %q", ae.Status, ae.Code, ae.Message, status, code, text)
	}
}

func TestEndpointToken(t *testing.T) {
	e := typestest.New(t)
	e.Serving()
	id := typestest.Workspace + "/onlineEndpoints/tokens"
	e.Put(id, `{"properties":{"compute":"k8s","authMode":"amltoken"}}`)
	e.KeySet = `{"keys":["new"]}`
	v, err := e.Call(id, "token", "")
	if err != nil {
		t.Fatal(err)
	}
	var told link.Endpoint
	var spec v1alpha1.OnlineEndpointSpec
	if !e.Desired("endpoint/tokens", &told) || json.Unmarshal(told.Spec, &spec) != nil {
		t.Fatal("no desired endpoint")
	}
	got, now := v.(machinelearning.EndpointAuthToken), e.Now()
	want := machinelearning.EndpointAuthToken{TokenType: "Bearer", ExpiryTimeUTC: now.Add(time.Hour).Unix(), RefreshAfterTimeUTC: now.Add(45 * time.Minute).Unix(),
		AccessToken: fmt.Sprintf("token of  for %s until %s", spec.Auth.Tokens.Audience, now.Add(time.Hour).Format(time.RFC3339))}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if spec.Auth.Tokens.JWKS != e.KeySet || spec.Auth.Tokens.Issuer != "https://fl.test/issuer" || len(spec.Auth.KeyHashes) != 0 {
		t.Errorf("router is told %+v", spec.Auth)
	}
	_, err = e.Call(id, "listKeys", "")
	code(t, err, 400, "BadRequest", "Call token")
}

func TestEndpointRefused(t *testing.T) {
	e := typestest.New(t)
	e.Serving()
	other := strings.Replace(typestest.Workspace, "/lab", "/other", 1)
	e.Put(other, `{}`)
	e.Put(other+"/computes/k8s", typestest.ComputeBody)
	e.Set(other+"/computes/k8s", map[string]any{"provisioningState": "Succeeded"})
	e.Put(typestest.Workspace+"/computes/coming", typestest.ComputeBody)
	e.Put(typestest.Blue, typestest.BlueBody)
	e.Set(typestest.Blue, map[string]any{"provisioningState": "Succeeded"})
	for name, c := range map[string]struct {
		id, body, code, text string
		status               int
	}{
		"name too short":     {"/onlineEndpoints/ab", `{}`, "InvalidResourceName", "3 to 32 letters, digits and hyphens", 400},
		"name with digit":    {"/onlineEndpoints/1abc", `{}`, "InvalidResourceName", "beginning with a letter", 400},
		"name too long":      {"/onlineEndpoints/" + strings.Repeat("a", 33), `{}`, "InvalidResourceName", "3 to 32", 400},
		"no compute":         {"/onlineEndpoints/new", `{"properties":{}}`, "", "properties.compute is missing; online endpoints run on Kubernetes", 400},
		"unknown compute":    {"/onlineEndpoints/new", `{"properties":{"compute":"azureml:none"}}`, "", `properties.compute names compute "none", which workspace lab does not have`, 400},
		"compute not ready":  {"/onlineEndpoints/new", `{"properties":{"compute":"coming"}}`, "", `properties.compute names compute "coming", which is Creating; wait`, 400},
		"AAD":                {"/onlineEndpoints/new", `{"properties":{"compute":"k8s","authMode":"AADToken"}}`, "", "which Kubernetes online endpoints do not have", 400},
		"unknown auth":       {"/onlineEndpoints/new", `{"properties":{"compute":"k8s","authMode":"None"}}`, "", `properties.authMode is "None"; it must be one of: Key, AMLToken`, 400},
		"private":            {"/onlineEndpoints/new", `{"properties":{"compute":"k8s","publicNetworkAccess":"Disabled"}}`, "", "belongs to managed endpoints", 400},
		"traffic at create":  {"/onlineEndpoints/new", `{"properties":{"compute":"k8s","traffic":{"blue":100}}}`, "", `properties.traffic names deployment "blue", which the endpoint does not have; it has: none. Create the deployment first.`, 400},
		"traffic of a word":  {"/onlineEndpoints/digits", `{"properties":{"traffic":{"blue":"all"}}}`, "", "properties.traffic is a string; it must be a whole number", 400},
		"traffic sum":        {"/onlineEndpoints/digits", `{"properties":{"traffic":{"blue":90}}}`, "", "properties.traffic adds up to 90; it must add up to 100, or to 0", 400},
		"traffic above":      {"/onlineEndpoints/digits", `{"properties":{"traffic":{"blue":101}}}`, "", "properties.traffic.blue is 101; it must be a whole number from 0 to 100", 400},
		"traffic below":      {"/onlineEndpoints/digits", `{"properties":{"traffic":{"blue":-1}}}`, "", "is -1; it must be", 400},
		"mirror of half":     {"/onlineEndpoints/digits", `{"properties":{"mirrorTraffic":{"blue":60}}}`, "", "properties.mirrorTraffic.blue is 60; it must be a whole number from 0 to 50", 400},
		"mirror of live":     {"/onlineEndpoints/digits", `{"properties":{"traffic":{"blue":100},"mirrorTraffic":{"blue":10}}}`, "", "which gets 100% of the requests already", 400},
		"compute changed":    {"/onlineEndpoints/digits", `{"properties":{"compute":"k8s2"}}`, "", `names compute "k8s2"`, 400},
		"short key":          {"/onlineEndpoints/new", `{"properties":{"compute":"k8s","keys":{"primaryKey":"abc"}}}`, "", "properties.keys.primaryKey has 3 characters", 400},
		"keys of an old one": {"/onlineEndpoints/digits", `{"properties":{"keys":{"primaryKey":"` + strings.Repeat("k", 40) + `"}}}`, "", "change keys with regenerateKeys", 400},
	} {
		t.Run(name, func(t *testing.T) {
			code(t, e.TryPut(typestest.Workspace+c.id, c.body), c.status, c.code+map[bool]string{true: "InvalidParameter"}[c.code == ""], c.text)
		})
	}
	t.Run("in another workspace", func(t *testing.T) {
		code(t, e.TryPut(other+"/onlineEndpoints/DIGITS", typestest.EndpointBody), 409, "EndpointAlreadyExists", "Cluster edge already has an online endpoint named DIGITS")
		if err := e.TryDelete(typestest.Endpoint, true); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("no inference", func(t *testing.T) {
		e.Set(typestest.Extension, map[string]any{"configurationSettings": map[string]any{"enableTraining": "True"}})
		code(t, e.TryPut(typestest.Workspace+"/onlineEndpoints/new", typestest.EndpointBody), 400, "InvalidParameter", "Inference feature is not enabled")
	})
}

func TestEndpointQuota(t *testing.T) {
	e := typestest.New(t)
	e.Serving()
	for i := range 59 {
		e.Put(fmt.Sprintf("%s/onlineEndpoints/ep-%d", typestest.Workspace, i), typestest.EndpointBody)
	}
	code(t, e.TryPut(typestest.Workspace+"/onlineEndpoints/more", typestest.EndpointBody), 400, "OutOfQuota", "has 60 online endpoints")
	for i := range 20 {
		e.Put(fmt.Sprintf("%s/deployments/dep-%d", typestest.Endpoint, i), typestest.BlueBody)
	}
	code(t, e.TryPut(typestest.Blue, typestest.BlueBody), 400, "OutOfQuota", "Endpoint digits has 20 deployments")
}

func TestDeploymentRefused(t *testing.T) {
	e := typestest.New(t)
	e.Serving()
	e.Put(typestest.Workspace+"/onlineEndpoints/coming", typestest.EndpointBody)
	e.Put(typestest.Workspace+"/models/triton/versions/1", `{"properties":{"modelType":"triton_model","modelUri":"azureml://datastores/workspaceblobstore/paths/x"}}`)
	with := func(fields string) string {
		return strings.Replace(typestest.BlueBody, `"properties":{`, `"properties":{`+fields+",", 1)
	}
	for name, c := range map[string]struct {
		body, target, text string
	}{
		"managed":             {`{"properties":{"endpointComputeType":"Managed","environmentId":"azureml:sklearn:1"}}`, "properties.endpointComputeType", "run on attached Kubernetes clusters here"},
		"no compute type":     {`{"properties":{"environmentId":"azureml:sklearn:1"}}`, "properties.endpointComputeType", "is missing; it must be one of: Kubernetes"},
		"no environment":      {`{"properties":{"endpointComputeType":"Kubernetes"}}`, "properties.environmentId", "properties.environmentId"},
		"unknown environment": {`{"properties":{"endpointComputeType":"Kubernetes","environmentId":"azureml:none:1"}}`, "properties.environmentId", `has no environments "none" of version 1`},
		"unknown model":       {strings.Replace(typestest.BlueBody, "azureml:digits:1", "azureml:digits:9", 1), "properties.model", `has no models "digits" of version 9`},
		"triton":              {strings.Replace(typestest.BlueBody, "azureml:digits:1", "azureml:triton:1", 1), "properties.model", "of type triton_model, which online deployments do not serve"},
		"no script":           {strings.Replace(typestest.BlueBody, `"score.py"`, `""`, 1), "properties.codeConfiguration.scoringScript", "such as score.py"},
		"script outside":      {strings.Replace(typestest.BlueBody, `"score.py"`, `"../score.py"`, 1), "properties.codeConfiguration.scoringScript", "must be a path in the code folder"},
		"no code":             {strings.Replace(typestest.BlueBody, `"azureml:abc:1"`, `""`, 1), "properties.codeConfiguration.codeId", "is missing"},
		"mount path":          {with(`"modelMountPath":"models/../x"`), "properties.modelMountPath", "must be an absolute path"},
		"instance type":       {with(`"instanceType":"huge"`), "properties.instanceType", `is "huge", which cluster edge does not have; it has: defaultinstancetype, gpu`},
		"variable":            {with(`"environmentVariables":{"1A":"x"}`), "properties.environmentVariables", `has the name "1A"`},
		"collector":           {with(`"dataCollector":{}`), "properties.dataCollector", "not available in this release"},
		"scale type":          {with(`"scaleSettings":{"scaleType":"Auto"}`), "properties.scaleSettings.scaleType", "Default, TargetUtilization"},
		"default and bounds":  {with(`"scaleSettings":{"scaleType":"Default","minInstances":1}`), "properties.scaleSettings.scaleType", "belong to TargetUtilization"},
		"max below min":       {with(`"scaleSettings":{"scaleType":"TargetUtilization","minInstances":3,"maxInstances":2}`), "properties.scaleSettings.maxInstances", "is 2, less than minInstances, 3"},
		"min negative":        {with(`"scaleSettings":{"scaleType":"TargetUtilization","minInstances":-1}`), "properties.scaleSettings.minInstances", "is -1; it must be 0 to 500"},
		"utilization":         {with(`"scaleSettings":{"scaleType":"TargetUtilization","targetUtilizationPercentage":101}`), "properties.scaleSettings.targetUtilizationPercentage", "is 101; it must be 1 to 100"},
		"polling":             {with(`"scaleSettings":{"scaleType":"TargetUtilization","pollingInterval":"10"}`), "properties.scaleSettings.pollingInterval", `"10" is not an ISO 8601 duration`},
		"timeout":             {with(`"requestSettings":{"requestTimeout":"PT301S"}`), "properties.requestSettings.requestTimeout", "is PT301S, 5m1s; it must be 1ms to 5m0s"},
		"concurrency":         {with(`"requestSettings":{"maxConcurrentRequestsPerInstance":0}`), "properties.requestSettings.maxConcurrentRequestsPerInstance", "is 0; it must be 1 to 10000"},
		"queue":               {with(`"requestSettings":{"maxQueueWait":"PT1H"}`), "properties.requestSettings.maxQueueWait", "1h0m0s; it must be 0s to 5m0s"},
		"liveness success":    {with(`"livenessProbe":{"successThreshold":2}`), "properties.livenessProbe.successThreshold", "is 2; it must be 1"},
		"probe period":        {with(`"readinessProbe":{"period":"PT0.5S"}`), "properties.readinessProbe.period", "500ms; it must be 1s to 1h0m0s"},
		"cpu":                 {with(`"containerResourceRequirements":{"containerResourceRequests":{"cpu":"much"}}`), "properties.containerResourceRequirements.containerResourceRequests.cpu", "must be a Kubernetes quantity"},
		"gpu":                 {with(`"containerResourceRequirements":{"containerResourceLimits":{"gpu":"0.5"}}`), "properties.containerResourceRequirements.containerResourceLimits.gpu", "must be a whole number"},
		"request above limit": {with(`"containerResourceRequirements":{"containerResourceRequests":{"memory":"2Gi"},"containerResourceLimits":{"memory":"1Gi"}}`), "properties.containerResourceRequirements.containerResourceRequests.memory", "is 2Gi, more than the limit, 1Gi"},
		"capacity":            {strings.Replace(typestest.BlueBody, `{"properties"`, `{"sku":{"capacity":0},"properties"`, 1), "sku.capacity", "is 0; it must be 1 to 500"},
		"sku":                 {strings.Replace(typestest.BlueBody, `{"properties"`, `{"sku":{"name":"Big"},"properties"`, 1), "sku.name", `is "Big"; it must be one of: Default`},
	} {
		t.Run(name, func(t *testing.T) { refused(t, e.TryPut(typestest.Blue, c.body), c.target, c.text) })
	}
	long := typestest.Workspace + "/onlineEndpoints/" + strings.Repeat("e", 32)
	e.Put(long, typestest.EndpointBody)
	e.Set(long, map[string]any{"provisioningState": "Succeeded"})
	refused(t, e.TryPut(long+"/deployments/"+strings.Repeat("d", 31), typestest.BlueBody), "name", "have 63 characters together; at most 62")
	code(t, e.TryPut(typestest.Workspace+"/onlineEndpoints/coming/deployments/blue", typestest.BlueBody), 409, "Conflict", "already in progress")
	code(t, e.TryPut(typestest.Workspace+"/onlineEndpoints/none/deployments/blue", typestest.BlueBody), 404, "ParentResourceNotFound", "")
}

func TestRemoveOnline(t *testing.T) {
	e := typestest.New(t)
	e.Serving()
	e.Put(typestest.Blue, typestest.BlueBody)
	e.Put(typestest.Endpoint+"/deployments/green", typestest.BlueBody)
	e.Put(typestest.Endpoint, `{"properties":{"traffic":{"blue":100,"green":0}}}`)
	code(t, e.TryDelete(typestest.Blue, false), 409, "Conflict", "gets 100% of the requests of endpoint digits")
	if err := e.TryDelete(typestest.Endpoint+"/deployments/green", false); err != nil {
		t.Fatal(err)
	}
	if got := e.Prop(typestest.Endpoint, "traffic"); !cmp.Equal(got, map[string]any{"blue": 100.0}) {
		t.Errorf("traffic %v", got)
	}
	if err := e.TryDelete(typestest.Blue, true); err != nil {
		t.Fatal(err)
	}
	if got := e.Prop(typestest.Endpoint, "traffic"); !cmp.Equal(got, map[string]any{}) {
		t.Errorf("traffic %v", got)
	}
	code(t, e.TryDelete(typestest.Compute, false), 409, "ResourceInUse", "serves online endpoints, such as digits")
	if err := e.TryDelete(typestest.Endpoint, false); err != nil {
		t.Fatal(err)
	}
	if e.Desired("endpoint/digits", &link.Endpoint{}) {
		t.Error("the cluster is still told of a deleted endpoint")
	}
}

func TestScoringURI(t *testing.T) {
	e := typestest.New(t)
	e.Serving()
	http, https := link.RouterPort{Name: "http", Port: 80, NodePort: 30080}, link.RouterPort{Name: "https", Port: 443, NodePort: 30443}
	for name, c := range map[string]struct {
		router link.RouterStatus
		cname  string
		want   any
	}{
		"load balancer":          {link.RouterStatus{Type: "LoadBalancer", LoadBalancers: []string{"10.0.0.9"}, Ports: []link.RouterPort{http}}, "", "http://10.0.0.9"},
		"named load balancer":    {link.RouterStatus{Type: "LoadBalancer", LoadBalancers: []string{"lb.example"}, Ports: []link.RouterPort{http, https}}, "", "https://lb.example"},
		"certificate":            {link.RouterStatus{Type: "LoadBalancer", LoadBalancers: []string{"10.0.0.9"}, Ports: []link.RouterPort{https}}, "ml.example.com", "https://ml.example.com"},
		"certificate, node port": {link.RouterStatus{Type: "NodePort", Nodes: []string{"10.1.0.1"}, Ports: []link.RouterPort{https}}, "ml.example.com", "https://ml.example.com:30443"},
		"nobody balances":        {link.RouterStatus{Type: "LoadBalancer", Nodes: []string{"10.1.0.1"}, Ports: []link.RouterPort{http}}, "", "http://10.1.0.1:30080"},
		"cluster IP":             {link.RouterStatus{Type: "ClusterIP", ClusterIP: "10.96.0.9", Ports: []link.RouterPort{http}}, "", "http://10.96.0.9"},
		"IPv6":                   {link.RouterStatus{Type: "ClusterIP", ClusterIP: "fd00::9", Ports: []link.RouterPort{http}}, "", "http://[fd00::9]"},
		"nowhere":                {link.RouterStatus{Type: "LoadBalancer", Ports: []link.RouterPort{http}}, "", nil},
		"no service":             {link.RouterStatus{}, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			e.Observe(link.KeyRouter, c.router)
			e.Set(typestest.Extension, map[string]any{"configurationSettings": map[string]any{"enableInference": "True", "sslCname": c.cname}})
			want, swagger := c.want, c.want
			if c.want != nil {
				want, swagger = c.want.(string)+"/api/v1/endpoint/digits/score", c.want.(string)+"/api/v1/endpoint/digits/swagger.json"
			}
			if got := e.Prop(typestest.Endpoint, "scoringUri"); got != want || e.Prop(typestest.Endpoint, "swaggerUri") != swagger {
				t.Errorf("scoringUri %v; want %v", got, want)
			}
		})
	}
}

// TestScoringURI_NameOfTheCertificate: without sslCname the name is the certificate's, which is a protected setting.
func TestScoringURI_NameOfTheCertificate(t *testing.T) {
	e := typestest.New(t)
	e.Serving()
	cert, key, err := certtest.Pair(e.Now().Add(-time.Hour), e.Now().Add(24*time.Hour), "ml.example.com")
	if err != nil {
		t.Fatal(err)
	}
	e.Put(typestest.Extension, fmt.Sprintf(`{"properties":{"extensionType":"Microsoft.AzureML.Kubernetes","configurationSettings":{"enableInference":"True"},
		"configurationProtectedSettings":{"scoringFe.sslCert":%q,"scoringFe.sslKey":%q}}}`,
		base64.StdEncoding.EncodeToString(cert), base64.StdEncoding.EncodeToString(key)))
	e.Observe(link.KeyRouter, link.RouterStatus{Type: "NodePort", Nodes: []string{"10.1.0.1"}, Ports: []link.RouterPort{{Name: "https", Port: 443, NodePort: 30443}}})
	if got, want := e.Prop(typestest.Endpoint, "scoringUri"), "https://ml.example.com:30443/api/v1/endpoint/digits/score"; got != want {
		t.Errorf("scoringUri %v; want %s", got, want)
	}
}

func TestDeploymentLogs(t *testing.T) {
	e := typestest.New(t)
	e.Serving()
	e.Put(typestest.Blue, typestest.BlueBody)
	var asked link.Target
	answer := errors.New("cluster not connected")
	e.OpenRelay = func(_ context.Context, _ string, target link.Target) (net.Conn, error) {
		asked = target
		if answer != nil {
			return nil, answer
		}
		near, far := net.Pipe()
		go func() { _, _ = io.WriteString(far, "==> pod a <==\nhello\xff\n"); far.Close() }()
		return near, target.Validate()
	}
	_, err := e.Call(typestest.Blue, "getLogs", `{}`)
	code(t, err, 503, "InferencingClientCallFailed", "isn't connectable now")
	answer = &link.RefusedError{Message: "deployment x has no pod in namespace train"}
	_, err = e.Call(typestest.Blue, "getLogs", `{}`)
	code(t, err, 409, "ResourceNotReady", "There is no log: deployment x has no pod")
	answer = nil
	v, err := e.Call(typestest.Blue, "getLogs", `{"containerType":"StorageInitializer","tail":20}`)
	if err != nil || v.(machinelearning.DeploymentLogs).Content != "==> pod a <==\nhello\uFFFD\n" {
		t.Errorf("%+v, %v", v, err)
	}
	want := link.Target{Kind: "log", Namespace: "train", Deployment: v1alpha1.DeploymentObjectName("digits", "blue"), Container: "storage-initializer", Tail: 20}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Error(diff)
	}
	for body, text := range map[string]string{`{"containerType":"Sidecar"}`: "InferenceServer, StorageInitializer", `{"tail":0}`: "tail is 0; it must be 1 to 10000", `{"tail":"all"}`: "cannot be read"} {
		_, err := e.Call(typestest.Blue, "getLogs", body)
		code(t, err, 400, "InvalidParameter", text)
	}
}

// TestLiveLogs: what is asked of the cluster, and what is refused before it is.
func TestLiveLogs(t *testing.T) {
	e := typestest.New(t)
	e.Serving()
	e.Put(typestest.Blue, typestest.BlueBody)
	var asked link.Target
	e.OpenRelay = func(_ context.Context, _ string, target link.Target) (net.Conn, error) {
		asked = target
		near, far := net.Pipe()
		go func() { _, _ = io.WriteString(far, "{}\n"); far.Close() }()
		return near, target.Validate()
	}
	open := func(query map[string]string) (string, error) {
		t.Helper()
		typ, _ := e.Engine.Registry.Lookup(arm.MustParseID(typestest.Blue).Type())
		src, err := typ.LiveLogs(t.Context(), e.Record(typestest.Blue), query)
		if err != nil {
			return "", err
		}
		defer src.Close()
		got, err := io.ReadAll(src)
		return string(got), err
	}
	if got, err := open(map[string]string{"api-version": "x", "follow": "true", "container": "storage-initializer", "tail": "0", "since": "2026-03-04T05:06:07Z"}); err != nil || got != "{}\n" {
		t.Errorf("%q, %v", got, err)
	}
	want := link.Target{Kind: "follow", Namespace: "train", Deployment: v1alpha1.DeploymentObjectName("digits", "blue"), Container: "storage-initializer", Since: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Error(diff)
	}
	if _, err := open(map[string]string{"follow": "True"}); err != nil || asked.Tail != 5000 || asked.Container != "inference-server" {
		t.Errorf("by default %+v, %v", asked, err)
	}
	for text, q := range map[string]map[string]string{
		"is had from POST getLogs": {}, `follow="maybe" is not true`: {"follow": "maybe"}, "inference-server, storage-initializer": {"follow": "true", "container": "sidecar"},
		"from 0 to 10000": {"follow": "true", "tail": "10001"}, "neither a duration": {"follow": "true", "since": "yesterday"}, "There are: container": {"follow": "true", "pod": "x"},
	} {
		_, err := open(q)
		code(t, err, 400, "InvalidParameter", text)
	}
}

// TestScaleByDefault: a number that is given holds, also one; without any, one pod scales by itself.
func TestScaleByDefault(t *testing.T) {
	e := typestest.New(t)
	e.Serving()
	for sku, want := range map[string]string{`"sku":{"capacity":1},`: "Default", `"sku":{"name":"Default","capacity":3},`: "Default", `"sku":{"name":"Default"},`: "TargetUtilization", ``: "TargetUtilization"} {
		e.Put(typestest.Blue, strings.Replace(typestest.BlueBody, `{"properties"`, `{`+sku+`"properties"`, 1))
		if got := e.Prop(typestest.Blue, "scaleSettings", "scaleType"); got != want {
			t.Errorf("with %q the type is %v, want %s", sku, got, want)
		}
		if err := e.TryDelete(typestest.Blue, true); err != nil {
			t.Fatal(err)
		}
	}
}
