package spec

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const goodDeployment = `$schema: https://azuremlschemas.azureedge.net/latest/kubernetesOnlineDeployment.schema.json
name: blue
type: kubernetes
endpoint_name: digits
model:
  path: ./model
model_mount_path: /var/models
code_configuration: {code: ./src, scoring_script: score.py}
environment:
  image: docker.io/library/server:1
  inference_config:
    liveness_route: {path: /, port: 5001}
    scoring_route: {path: /score, port: 5001}
environment_variables: {A: 1}
instance_type: gpu
instance_count: 2
app_insights_enabled: true
scale_settings: {type: target_utilization, min_instances: 0, max_instances: 3, target_utilization_percentage: 70, polling_interval: 10}
request_settings: {request_timeout_ms: 3000, max_concurrent_requests_per_instance: 2, max_queue_wait_ms: 0}
liveness_probe: {initial_delay: 0, period: 3, timeout: 1, success_threshold: 1, failure_threshold: 5}
resources: {requests: {cpu: "0.5", memory: 1Gi}, limits: {cpu: 1, nvidia.com/gpu: 1}}
`

func TestOnlineDeployment(t *testing.T) {
	doc, err := Parse("blue.yml", []byte(goodDeployment))
	if err != nil {
		t.Fatal(err)
	}
	got, err := doc.OnlineDeployment(true)
	if err != nil {
		t.Fatal(err)
	}
	yes := true
	n := func(v int64) *int64 { return &v }
	want := &OnlineDeployment{Name: "blue", Endpoint: "digits", Model: Model{Path: "./model", Type: "custom_model"}, ModelMountPath: "/var/models",
		Code: "./src", ScoringScript: "score.py", EnvironmentVariables: map[string]string{"A": "1"}, InstanceType: "gpu", InstanceCount: n(2), AppInsights: &yes,
		Environment:      Environment{Image: "docker.io/library/server:1", Inference: &InferenceConfig{Liveness: &Route{"/", 5001}, Scoring: &Route{"/score", 5001}}},
		Scale:            ScaleSettings{Type: "target_utilization", Min: n(0), Max: n(3), Utilization: n(70), PollingInterval: n(10)},
		Requests:         RequestSettings{TimeoutMS: n(3000), Concurrent: n(2), QueueWaitMS: n(0)},
		Liveness:         &Probe{InitialDelay: n(0), Period: n(3), Timeout: n(1), SuccessThreshold: n(1), FailureThreshold: n(5)},
		ResourceRequests: map[string]string{"cpu": "0.5", "memory": "1Gi"}, ResourceLimits: map[string]string{"cpu": "1", "nvidia.com/gpu": "1"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestOnlineEndpoint(t *testing.T) {
	doc, err := Parse("e.yml", []byte("name: digits\ncompute: azureml:k8s\nauth_mode: Key\ntraffic: {blue: 90, green: 10}\nmirror_traffic: {green: 10}\ntags: {a: b}\nidentity: {type: user_assigned, user_assigned_identities: [/a, {resource_id: /b}]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := doc.OnlineEndpoint(true)
	if err != nil {
		t.Fatal(err)
	}
	want := &OnlineEndpoint{Name: "digits", AuthMode: "key", Compute: "azureml:k8s", Tags: map[string]string{"a": "b"}, Traffic: map[string]int64{"blue": 90, "green": 10}, MirrorTraffic: map[string]int64{"green": 10},
		Identity: ManagedIdentity{Type: "UserAssigned", UserAssigned: []string{"/a", "/b"}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestOnline_BadInput(t *testing.T) {
	const endpoint, deployment = "name: digits\ncompute: azureml:k8s\n", "name: blue\nendpoint_name: digits\nenvironment: azureml:e:1\n"
	for name, tc := range map[string]struct{ in, want string }{
		"endpoint unknown key":      {endpoint + "computer: x\n", `f.yml:3: unknown key "computer"; did you mean "compute"?`},
		"endpoint no compute":       {"name: digits\n", `f.yml: compute: is required: azureml:<compute name>`},
		"endpoint name":             {"name: 1digits\ncompute: azureml:k8s\n", `f.yml:1: name: "1digits" is not a name of an endpoint or deployment: 3 to 32 letters, digits and hyphens, beginning with a letter and ending with a letter or digit`},
		"endpoint AAD":              {endpoint + "auth_mode: aad_token\n", `f.yml:3: auth_mode: not supported yet: aad_token; the router in the cluster verifies keys and tokens by itself; give key or aml_token`},
		"endpoint auth":             {endpoint + "auth_mode: none\n", `f.yml:3: auth_mode: "none" is not one of key, aml_token, amltoken`},
		"endpoint traffic sum":      {endpoint + "traffic: {blue: 50}\n", `f.yml:3: traffic: adds up to 50; must add up to 100, or to 0 for none`},
		"endpoint traffic word":     {endpoint + "traffic: all\n", `f.yml:3: traffic: must be a mapping of deployments to percentages, such as {blue: 90, green: 10}, not "all"`},
		"endpoint traffic above":    {endpoint + "traffic: {blue: 200}\n", `f.yml:3: traffic.blue: 200 is out of range; must be 0 to 100`},
		"endpoint public access":    {endpoint + "public_network_access: enabled\n", `f.yml:3: public_network_access: belongs to managed endpoints; leave it out: these run on Kubernetes`},
		"endpoint identity":         {endpoint + "identity: {type: managed}\n", `f.yml:3: identity.type: "managed" is not one of system_assigned, user_assigned, SystemAssigned, UserAssigned, none`},
		"endpoint identity of none": {endpoint + "identity: {}\n", `f.yml:3: identity.type: is required; give system_assigned, user_assigned or none`},
		"endpoint without user":     {endpoint + "identity: {type: user_assigned}\n", `f.yml:3: identity.user_assigned_identities: is required with user_assigned: a list of resource ids ('fairlead identity show --query id')`},
		"endpoint with a user":      {endpoint + "identity: {type: none, user_assigned_identities: [/x]}\n", `f.yml:3: identity.user_assigned_identities: belongs to user_assigned, not None`},
		"deployment empty":          {"", "f.yml: name: is required: the deployment's name (or --name)\nf.yml: endpoint_name: is required: the endpoint's name (or --endpoint-name)\nf.yml: environment: is required: azureml:<name>:<version> or image: <image>"},
		"deployment managed":        {deployment + "type: managed\n", `f.yml:4: type: not supported yet: managed; deployments run on attached Kubernetes clusters; give kubernetes`},
		"deployment unknown":        {deployment + "instances: 1\n", `f.yml:4: unknown key "instances"`},
		"deployment count":          {deployment + "instance_count: 0\n", `f.yml:4: instance_count: 0 is out of range; must be 1 to 500`},
		"deployment count word":     {deployment + "instance_count: two\n", `f.yml:4: instance_count: must be a whole number, not "two"`},
		"deployment model":          {deployment + "model: digits\n", `f.yml:4: model: "digits" names no asset; want azureml:<name>:<version> or azureml:<name>@latest; or give path: <local folder or file> below model:`},
		"deployment model path":     {deployment + "model: {name: digits}\n", `f.yml:4: model.path: is required: a local folder or file, or an azureml:// address`},
		"deployment model type":     {deployment + "model: {path: x, type: triton_model}\n", `f.yml:4: model.type: "triton_model" is not one of custom_model, mlflow_model`},
		"deployment code alone":     {deployment + "code_configuration: {code: ./src}\n", `f.yml:4: code_configuration: needs both code, a folder, and scoring_script, a file in it`},
		"deployment scale type":     {deployment + "scale_settings: {type: auto}\n", `f.yml:4: scale_settings.type: "auto" is not one of default, target_utilization`},
		"deployment scale bounds":   {deployment + "scale_settings: {min_instances: 3, max_instances: 2}\n", `f.yml:4: scale_settings.max_instances: 2 is less than min_instances, 3`},
		"deployment default bounds": {deployment + "scale_settings: {type: default, min_instances: 1}\n", `f.yml:4: scale_settings.type: default has no bounds: instance_count is the number of instances; give target_utilization, or leave the bounds out`},
		"deployment utilization":    {deployment + "scale_settings: {target_utilization_percentage: 0}\n", `f.yml:4: scale_settings.target_utilization_percentage: 0 is out of range; must be 1 to 100`},
		"deployment timeout":        {deployment + "request_settings: {request_timeout_ms: 300001}\n", `f.yml:4: request_settings.request_timeout_ms: 300001 is out of range; must be 1 to 300000`},
		"deployment queue":          {deployment + "request_settings: {max_queue_wait_ms: -1}\n", `f.yml:4: request_settings.max_queue_wait_ms: -1 is out of range; must be 0 to 300000`},
		"deployment probe":          {deployment + "liveness_probe: {interval: 3}\n", `f.yml:4: unknown key "interval" in liveness_probe`},
		"deployment probe period":   {deployment + "readiness_probe: {period: 0}\n", `f.yml:4: readiness_probe.period: 0 is out of range; must be 1 to 3600`},
		"deployment resources":      {deployment + "resources: {requests: {gpu: 1}}\n", `f.yml:4: unknown key "gpu" in resources.requests`},
		"deployment collector":      {deployment + "data_collector: {sampling_rate: 1}\n", `f.yml:4: data_collector: not supported yet: collecting data`},
		"deployment insights":       {deployment + "app_insights_enabled: maybe\n", `f.yml:4: app_insights_enabled: must be true or false, not "maybe"`},
		"deployment egress":         {deployment + "egress_public_network_access: disabled\n", `f.yml:4: egress_public_network_access: belongs to managed endpoints`},
		"deployment long names":     {"name: " + strings.Repeat("b", 32) + "\nendpoint_name: " + strings.Repeat("a", 32) + "\nenvironment: azureml:e:1\n", `f.yml:1: name: 64 characters together with endpoint_name; at most 62 are allowed`},
		"environment no scoring":    {"name: blue\nendpoint_name: digits\nenvironment: {image: a, inference_config: {liveness_route: {path: /, port: 1}}}\n", `f.yml:3: environment.inference_config.scoring_route: is required: path and port where the image takes requests`},
		"environment route path":    {"name: blue\nendpoint_name: digits\nenvironment: {image: a, inference_config: {scoring_route: {path: score, port: 1}}}\n", `f.yml:3: environment.inference_config.scoring_route.path: "score" is not a path; it begins with /`},
		"environment route port":    {"name: blue\nendpoint_name: digits\nenvironment: {image: a, inference_config: {scoring_route: {path: /score, port: 70000}}}\n", `f.yml:3: environment.inference_config.scoring_route.port: 70000 is out of range; must be 1 to 65535`},
	} {
		t.Run(name, func(t *testing.T) {
			doc, err := Parse("f.yml", []byte(tc.in))
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(name, "endpoint") {
				_, err = doc.OnlineEndpoint(true)
			} else {
				_, err = doc.OnlineDeployment(true)
			}
			if err == nil || !strings.HasPrefix(err.Error(), tc.want) {
				t.Errorf("error %v\nwant  %s", err, tc.want)
			}
		})
	}
}

// FuzzOnline looks for files that make the readers fall over.
func FuzzOnline(f *testing.F) {
	f.Add(goodDeployment)
	f.Add("traffic: {a: &x 1, b: *x}\nmodel: {path: x}\nliveness_probe: 1\n")
	f.Fuzz(func(_ *testing.T, in string) {
		if doc, err := Parse("f.yml", []byte(in)); err == nil {
			_, _ = doc.OnlineEndpoint(true)
			_, _ = doc.OnlineDeployment(true)
		}
	})
}
