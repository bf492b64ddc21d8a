package spec

import (
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// OnlineEndpoint is an online endpoint on a Kubernetes compute.
type OnlineEndpoint struct {
	Name, Description, AuthMode, Compute string
	Tags                                 map[string]string
	// Traffic and MirrorTraffic are nil when the file does not speak of them.
	Traffic, MirrorTraffic map[string]int64
	Identity               ManagedIdentity
}

// OnlineDeployment is a deployment of an online endpoint on Kubernetes. What is nil or empty is left to the control plane.
type OnlineDeployment struct {
	Name, Endpoint, Description      string
	Tags, Properties                 map[string]string
	Model                            Model
	ModelMountPath                   string
	Code, ScoringScript              string
	Environment                      Environment
	EnvironmentVariables             map[string]string
	InstanceType                     string
	InstanceCount                    *int64
	AppInsights                      *bool
	Scale                            ScaleSettings
	Requests                         RequestSettings
	Liveness, Readiness, Startup     *Probe
	ResourceRequests, ResourceLimits map[string]string
}

// Model is a model by name, or a local folder or file that is registered on the way.
type Model struct {
	Ref                       string
	Name, Version, Type, Path string
}

// ScaleSettings say how many pods there are. Type is default or target_utilization.
type ScaleSettings struct {
	Type                                   string
	Min, Max, Utilization, PollingInterval *int64
}

// RequestSettings bound requests, in milliseconds.
type RequestSettings struct{ TimeoutMS, Concurrent, QueueWaitMS *int64 }

// Probe is one probe, in seconds.
type Probe struct{ InitialDelay, Period, Timeout, SuccessThreshold, FailureThreshold *int64 }

// InferenceConfig is where an image answers.
type InferenceConfig struct{ Liveness, Readiness, Scoring *Route }

// Route is a path and a port.
type Route struct {
	Path string
	Port int64
}

var servingName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]{1,30}[A-Za-z0-9]$`)

const servingRule = "3 to 32 letters, digits and hyphens, beginning with a letter and ending with a letter or digit"

// managedOnly are keys of the reference's managed endpoints and deployments.
func managedOnly(d *decoder, n *yaml.Node, path string) {
	d.fail(n, "%s: belongs to managed endpoints; leave it out: these run on Kubernetes", path)
}

// OnlineEndpoint gives a document the meaning of an online endpoint; all says that what is required must be there.
func (doc *Document) OnlineEndpoint(all bool) (*OnlineEndpoint, error) {
	e, d := &OnlineEndpoint{}, &decoder{file: doc.file}
	d.object(doc.root, "", fields{
		"$schema": text(new(string)), "name": text(&e.Name), "description": text(&e.Description), "tags": stringMap(&e.Tags),
		"auth_mode": choiceBut(&e.AuthMode, map[string]string{"aad_token": "the router in the cluster verifies keys and tokens by itself; give key or aml_token", "aadtoken": "give key or aml_token"},
			"key", "aml_token", "amltoken"),
		"compute": text(&e.Compute), "traffic": shares(&e.Traffic), "mirror_traffic": shares(&e.MirrorTraffic),
		"identity": e.Identity.ofEndpoint, "public_network_access": managedOnly, "type": choice(new(string), "kubernetes"),
	})
	if all {
		d.need(doc, "name", e.Name, "the endpoint's name (or --name)")
		d.need(doc, "compute", e.Compute, "azureml:<compute name>")
	}
	d.servingNamed(doc, "name", e.Name)
	if e.AuthMode == "amltoken" {
		e.AuthMode = "aml_token"
	}
	d.sums(doc, e.Traffic)
	return e, d.err()
}

func (d *decoder) servingNamed(doc *Document, key, name string) {
	if name != "" && !servingName.MatchString(name) {
		d.fail(doc.node(key), "%s: %q is not a name of an endpoint or deployment: %s", key, name, servingRule)
	}
}

func (d *decoder) sums(doc *Document, traffic map[string]int64) {
	var sum int64
	for _, share := range traffic {
		sum += share
	}
	if sum != 0 && sum != 100 && !d.mentions("traffic") {
		d.fail(doc.node("traffic"), "traffic: adds up to %d; must add up to 100, or to 0 for none", sum)
	}
}

// shares reads a mapping of deployments to percentages.
func shares(out *map[string]int64) setter {
	return func(d *decoder, n *yaml.Node, path string) {
		if n.Kind != yaml.MappingNode {
			d.fail(n, "%s: must be a mapping of deployments to percentages, such as {blue: 90, green: 10}, not %s", path, kindName(n))
			return
		}
		*out = map[string]int64{}
		for _, p := range d.pairs(n, path, 0) {
			var v int64
			if value := resolve(p.value); value != nil {
				integer(&v, 0, 100)(d, value, join(path, p.key.Value))
			}
			(*out)[p.key.Value] = v
		}
	}
}

// OnlineDeployment gives a document the meaning of an online deployment; all says that what is required must be there.
func (doc *Document) OnlineDeployment(all bool) (*OnlineDeployment, error) {
	o, d := &OnlineDeployment{}, &decoder{file: doc.file}
	d.object(doc.root, "", o.fields())
	if all {
		d.need(doc, "name", o.Name, "the deployment's name (or --name)")
		d.need(doc, "endpoint_name", o.Endpoint, "the endpoint's name (or --endpoint-name)")
		d.need(doc, "environment", o.Environment.given(), "azureml:<name>:<version> or image: <image>")
	}
	d.servingNamed(doc, "name", o.Name)
	d.servingNamed(doc, "endpoint_name", o.Endpoint)
	if n := len(o.Name) + len(o.Endpoint); n > 62 {
		d.fail(doc.node("name"), "name: %d characters together with endpoint_name; at most 62 are allowed", n)
	}
	if (o.Code == "") != (o.ScoringScript == "") && !d.mentions("code_configuration") {
		d.fail(doc.node("code_configuration"), "code_configuration: needs both code, a folder, and scoring_script, a file in it")
	}
	if s := o.Scale; s.Type == "default" && (s.Min != nil || s.Max != nil || s.Utilization != nil || s.PollingInterval != nil) {
		d.fail(doc.node("scale_settings"), "scale_settings.type: default has no bounds: instance_count is the number of instances; give target_utilization, or leave the bounds out")
	}
	if s := o.Scale; s.Min != nil && s.Max != nil && *s.Max < *s.Min {
		d.fail(doc.nodeAt("scale_settings", "max_instances"), "scale_settings.max_instances: %d is less than min_instances, %d", *s.Max, *s.Min)
	}
	return o, d.err()
}

func (o *OnlineDeployment) fields() fields {
	return fields{
		"$schema": text(new(string)), "name": text(&o.Name), "endpoint_name": text(&o.Endpoint), "description": text(&o.Description),
		"type": choiceBut(new(string), map[string]string{"managed": "deployments run on attached Kubernetes clusters; give kubernetes"}, "kubernetes"),
		"tags": stringMap(&o.Tags), "properties": stringMap(&o.Properties), "model": o.Model.reference, "model_mount_path": text(&o.ModelMountPath),
		"code_configuration": object(func() fields { return fields{"code": text(&o.Code), "scoring_script": text(&o.ScoringScript)} }),
		"environment":        o.Environment.reference, "environment_variables": stringMap(&o.EnvironmentVariables),
		"instance_type": text(&o.InstanceType), "instance_count": number(&o.InstanceCount, 1, 500), "app_insights_enabled": boolean(&o.AppInsights),
		"scale_settings": object(o.Scale.fields), "scale_setting": object(o.Scale.fields), // the reference's own pages have both
		"request_settings": object(func() fields {
			return fields{"request_timeout_ms": number(&o.Requests.TimeoutMS, 1, 300_000), "max_concurrent_requests_per_instance": number(&o.Requests.Concurrent, 1, 10_000),
				"max_queue_wait_ms": number(&o.Requests.QueueWaitMS, 0, 300_000)}
		}),
		"liveness_probe": probe(&o.Liveness), "readiness_probe": probe(&o.Readiness), "startup_probe": probe(&o.Startup),
		"resources": object(func() fields {
			return fields{"requests": quantities(&o.ResourceRequests), "limits": quantities(&o.ResourceLimits)}
		}),
		"data_collector": unsupported("collecting data"), "egress_public_network_access": managedOnly,
	}
}

func (s *ScaleSettings) fields() fields {
	return fields{
		"type": choice(&s.Type, "default", "target_utilization"), "min_instances": number(&s.Min, 0, 500), "max_instances": number(&s.Max, 1, 500),
		"target_utilization_percentage": number(&s.Utilization, 1, 100), "polling_interval": number(&s.PollingInterval, 1, 3600),
	}
}

func probe(out **Probe) setter {
	return func(d *decoder, n *yaml.Node, path string) {
		p := &Probe{}
		*out = p
		object(func() fields {
			return fields{"initial_delay": number(&p.InitialDelay, 0, 3600), "period": number(&p.Period, 1, 3600), "timeout": number(&p.Timeout, 1, 3600),
				"success_threshold": number(&p.SuccessThreshold, 1, 1000), "failure_threshold": number(&p.FailureThreshold, 1, 1000)}
		})(d, n, path)
	}
}

// quantities reads cpu, memory and nvidia.com/gpu.
func quantities(out *map[string]string) setter {
	return func(d *decoder, n *yaml.Node, path string) {
		*out = map[string]string{}
		known := fields{}
		for _, name := range []string{"cpu", "memory", "nvidia.com/gpu"} {
			known[name] = func(d *decoder, n *yaml.Node, path string) {
				var v string
				text(&v)(d, n, path)
				(*out)[name] = v
			}
		}
		object(func() fields { return known })(d, n, path)
	}
}

func number(out **int64, lowest, highest int64) setter {
	return func(d *decoder, n *yaml.Node, path string) {
		var v int64
		before := len(d.problems)
		if integer(&v, lowest, highest)(d, n, path); len(d.problems) == before {
			*out = &v
		}
	}
}

func boolean(out **bool) setter {
	return func(d *decoder, n *yaml.Node, path string) {
		var v bool
		if n.Kind != yaml.ScalarNode || n.Decode(&v) != nil {
			d.fail(n, "%s: must be true or false, not %s", path, kindName(n))
			return
		}
		*out = &v
	}
}

// reference reads model: of a deployment: a word or a mapping with a path.
func (m *Model) reference(d *decoder, n *yaml.Node, path string) {
	if n.Kind == yaml.ScalarNode {
		if _, err := ParseRef(n.Value); err != nil {
			d.fail(n, "%s: %v; or give path: <local folder or file> below model:", path, err)
		}
		m.Ref = n.Value
		return
	}
	m.Type = "custom_model"
	before := len(d.problems)
	object(func() fields {
		return fields{"name": text(&m.Name), "version": text(&m.Version), "path": text(&m.Path), "type": choice(&m.Type, "custom_model", "mlflow_model"),
			"description": text(new(string)), "$schema": text(new(string))}
	})(d, n, path)
	if m.Path == "" && len(d.problems) == before {
		d.fail(n, "%s.path: is required: a local folder or file, or an azureml:// address", path)
	}
}

var routePath = regexp.MustCompile(`^/[^\s?#]{0,255}$`)

func (c *InferenceConfig) fields() fields {
	return fields{"liveness_route": route(&c.Liveness), "readiness_route": route(&c.Readiness), "scoring_route": route(&c.Scoring)}
}

func route(out **Route) setter {
	return func(d *decoder, n *yaml.Node, path string) {
		r := &Route{}
		*out = r
		before := len(d.problems)
		object(func() fields { return fields{"path": text(&r.Path), "port": integer(&r.Port, 1, 65535)} })(d, n, path)
		switch {
		case len(d.problems) > before:
		case !routePath.MatchString(r.Path):
			d.fail(n, "%s.path: %q is not a path; it begins with /", path, r.Path)
		case r.Port == 0:
			d.fail(n, "%s.port: is required: 1 to 65535", path)
		}
	}
}

// inference reads inference_config of an environment.
func (e *Environment) inference(d *decoder, n *yaml.Node, path string) {
	e.Inference = &InferenceConfig{}
	before := len(d.problems)
	object(e.Inference.fields)(d, n, path)
	if e.Inference.Scoring == nil && len(d.problems) == before {
		d.fail(n, "%s.scoring_route: is required: path and port where the image takes requests", path)
	}
}

// IsLocal says that a model is files here.
func (m Model) IsLocal() bool {
	return m.Path != "" && !strings.HasPrefix(m.Path, "azureml:") && !strings.Contains(m.Path, "://")
}
