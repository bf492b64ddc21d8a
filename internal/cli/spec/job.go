package spec

import (
	"cmp"
	"regexp"
	"sort"
	"strings"

	"go.yaml.in/yaml/v3"

	"fairlead.dev/fairlead/internal/nearest"
)

// CommandJob is a command job of the reference's CLI v2.
type CommandJob struct {
	Name, DisplayName, ExperimentName, Description string
	Tags, Properties                               map[string]string
	Command, Code, Compute                         string
	Environment                                    Environment
	EnvironmentVariables                           map[string]string
	Distribution                                   *Distribution
	Resources                                      Resources
	// TimeoutSeconds is 0 when there is none.
	TimeoutSeconds int64
	Inputs         map[string]Input
	Outputs        map[string]Output
	Queue          Queue
	Identity       *Identity
	// Warnings name what the file says and this release does not do.
	Warnings Problems
}

// Distribution is how a job's processes start. Type is pytorch, mpi or tensorflow.
type Distribution struct {
	Type                                                       string
	ProcessCountPerInstance, WorkerCount, ParameterServerCount int64
}

// Resources are what a job asks for; zero values mean the default.
type Resources struct {
	InstanceCount, MaxInstanceCount int64
	InstanceType, ShmSize           string
	Locations                       []string
	Properties                      map[string]string
}

// Input is one input: a literal, or data at a path.
type Input struct {
	Literal bool
	Value   string
	Type    string
	Path    string
	Mode    string
	// Line is where it stands in the file.
	Line int
}

// Output is one output.
type Output struct{ Type, Path, Mode, Name, Version string }

// Queue holds queue_settings.
type Queue struct{ JobTier, Priority string }

// Identity is how the job's own calls are authorised. Type is aml_token, or managed for an identity of the compute: the one of any of the
// three ids, or else the first.
type Identity struct{ Type, ClientID, ObjectID, ResourceID string }

var (
	jobName        = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_-]{0,254}$`)
	experimentName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,254}$`)
	paramName      = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)
	shmSize        = regexp.MustCompile(`^[1-9][0-9]{0,14}[bkmgBKMG]$`)
	inCommand      = regexp.MustCompile(`\$\{\{\s*([^}]*?)\s*\}\}`)
	envName        = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*$`)
)

// NameRule says in words what a job may be called.
const NameRule = "letters, digits, - and _, beginning with a letter or digit, at most 255 characters"

// Job gives a document the meaning of a command job.
func (doc *Document) Job() (*CommandJob, error) {
	d := &decoder{file: doc.file}
	if kind := doc.jobType(); kind != "command" {
		n := doc.node("type")
		switch kind {
		case "sweep", "pipeline", "automl", "spark", "parallel", "import", "finetuning":
			d.fail(n, "type: %s jobs are not supported yet; command jobs are", kind)
		default:
			d.fail(n, "type: %q is not one of command", kind)
		}
		return nil, d.err()
	}
	j := &CommandJob{}
	d.object(doc.root, "", j.fields())
	j.check(d, doc)
	j.Warnings = d.warnings
	return j, d.err()
}

func (doc *Document) jobType() string {
	if t := doc.Lookup("type"); t != "" {
		return strings.ToLower(t)
	}
	schema := strings.ToLower(doc.Lookup("$schema"))
	for _, k := range []string{"sweep", "pipeline"} {
		if strings.Contains(schema, k+"job") {
			return k
		}
	}
	switch {
	case doc.node("search_space") != nil:
		return "sweep"
	case doc.node("jobs") != nil:
		return "pipeline"
	}
	return "command"
}

func (doc *Document) node(key string) *yaml.Node {
	for i := 0; i+1 < len(doc.root.Content); i += 2 {
		if doc.root.Content[i].Value == key {
			return doc.root.Content[i+1]
		}
	}
	return nil
}

// nodeAt is the value of a key below a top-level key, or that key's own value.
func (doc *Document) nodeAt(top, key string) *yaml.Node {
	n := resolve(doc.node(top))
	if n == nil {
		return nil
	}
	return cmp.Or((&Document{root: n}).node(key), n)
}

func (j *CommandJob) fields() fields {
	var ignore string
	return fields{
		"$schema": text(&ignore), "type": text(&ignore),
		"name": text(&j.Name), "display_name": text(&j.DisplayName), "experiment_name": text(&j.ExperimentName),
		"description": text(&j.Description), "tags": stringMap(&j.Tags), "properties": stringMap(&j.Properties),
		"command": text(&j.Command), "code": text(&j.Code), "compute": text(&j.Compute),
		"environment": j.Environment.reference, "environment_variables": stringMap(&j.EnvironmentVariables),
		"distribution": j.distribution, "resources": object(j.Resources.fields),
		"limits": object(func() fields { return fields{"timeout": integer(&j.TimeoutSeconds, 1, 1<<31)} }),
		"inputs": j.inputs, "outputs": j.outputs,
		"queue_settings": idle(object(func() fields {
			return fields{
				"job_tier": choice(&j.Queue.JobTier, "spot", "basic", "standard", "premium", "null"),
				"priority": choice(&j.Queue.Priority, "low", "medium", "high"),
			}
		}), ""),
		"services": unsupported("interactive services; follow the log with `fairlead ml job stream`"),
		"identity": j.identity,
	}
}

// maxInstances is how many pods a job may have.
const maxInstances = 100

func (r *Resources) fields() fields {
	return fields{
		"instance_count": integer(&r.InstanceCount, 1, maxInstances), "max_instance_count": idle(integer(&r.MaxInstanceCount, 1, 10_000), ""),
		"instance_type": text(&r.InstanceType), "locations": idle(textList(&r.Locations), ""), "properties": stringMap(&r.Properties),
		"docker_args": func(d *decoder, n *yaml.Node, path string) {
			if n.Kind != yaml.ScalarNode || n.Value != "" {
				d.fail(n, "%s: not supported: a Kubernetes compute has no docker to give %s to; leave it out (instance_type and shm_size set a pod's resources)", path, kindName(n))
			}
		},
		"shm_size": func(d *decoder, n *yaml.Node, path string) {
			if text(&r.ShmSize)(d, n, path); n.Kind == yaml.ScalarNode && !shmSize.MatchString(r.ShmSize) {
				d.fail(n, "%s: %s is not a size; want a whole number above 0 and a unit b, k, m or g, such as 2g", path, kindName(n))
			}
		},
	}
}

func (j *CommandJob) distribution(d *decoder, n *yaml.Node, path string) {
	j.Distribution = &Distribution{}
	x := j.Distribution
	object(func() fields {
		return fields{
			"type":                       choice(&x.Type, "pytorch", "mpi", "tensorflow", "ray"),
			"process_count_per_instance": integer(&x.ProcessCountPerInstance, 1, 1024),
			"worker_count":               integer(&x.WorkerCount, 1, 10_000),
			"parameter_server_count":     integer(&x.ParameterServerCount, 0, 10_000),
			"port":                       unsupported("ray"), "address": unsupported("ray"), "include_dashboard": unsupported("ray"),
			"dashboard_port": unsupported("ray"), "head_node_additional_args": unsupported("ray"), "worker_node_additional_args": unsupported("ray"),
		}
	})(d, n, path)
	switch {
	case n.Kind != yaml.MappingNode:
	case x.Type == "":
		if len(d.problems) == 0 {
			d.fail(n, "%s.type: is required; one of pytorch, mpi, tensorflow", path)
		}
	case x.Type == "ray":
		d.fail(n, "%s.type: not supported yet: ray; one of pytorch, mpi, tensorflow", path)
	case x.Type == "mpi" && x.ProcessCountPerInstance == 0:
		d.fail(n, "%s.process_count_per_instance: is required for mpi", path)
	case x.Type == "tensorflow" && x.ProcessCountPerInstance != 0:
		d.fail(n, "%s.process_count_per_instance: does not belong to tensorflow; use worker_count and parameter_server_count", path)
	case x.Type != "tensorflow" && (x.WorkerCount != 0 || x.ParameterServerCount != 0):
		d.fail(n, "%s: worker_count and parameter_server_count belong to tensorflow, not %s", path, x.Type)
	}
}

func (j *CommandJob) identity(d *decoder, n *yaml.Node, path string) {
	j.Identity = &Identity{}
	object(func() fields {
		return fields{
			"type":      choiceBut(&j.Identity.Type, noIdentities, "aml_token", "managed", "managed_identity"),
			"client_id": text(&j.Identity.ClientID), "object_id": text(&j.Identity.ObjectID), "msi_resource_id": text(&j.Identity.ResourceID),
			"resource_id": text(&j.Identity.ResourceID),
		}
	})(d, n, path)
	if j.Identity.Type == "" && n.Kind == yaml.MappingNode && len(d.problems) == 0 {
		d.fail(n, "%s.type: is required; give managed or aml_token, or leave identity out", path)
	}
	if id := j.Identity; id.Type == "aml_token" && id.ClientID+id.ObjectID+id.ResourceID != "" {
		d.fail(n, "%s: client_id, object_id and msi_resource_id belong to managed, not aml_token", path)
	}
}

// noIdentities are the reference's other identities.
var noIdentities = map[string]string{
	"user_identity": "a job runs while its user is away, and no token of a user is kept; give managed, and give the compute's identity the roles that the job needs"}

// check applies the rules that need more than one key.
func (j *CommandJob) check(d *decoder, doc *Document) {
	if j.Name != "" && !jobName.MatchString(j.Name) {
		d.fail(doc.node("name"), "name: %q is not a job name: %s", j.Name, NameRule)
	}
	for _, need := range []struct{ key, value, help string }{
		{"command", j.Command, "the shell command to run"},
		{"environment", j.Environment.given(), "azureml:<name>:<version> or image: <image>"},
		{"compute", j.Compute, "azureml:<compute name>"},
	} {
		if strings.TrimSpace(need.value) == "" && !d.mentions(need.key) {
			d.fail(doc.node(need.key), "%s: is required: %s", need.key, need.help)
		}
	}
	if strings.EqualFold(strings.TrimPrefix(j.Compute, "azureml:"), "local") {
		d.fail(doc.node("compute"), "compute: %q is not supported; name an attached compute (fairlead ml compute list)", j.Compute)
	}
	for k := range j.EnvironmentVariables {
		if !envName.MatchString(k) {
			d.fail(doc.node("environment_variables"), "environment_variables: %q is not a variable name", k)
		}
	}
	if j.ExperimentName != "" && !experimentName.MatchString(j.ExperimentName) {
		d.fail(doc.node("experiment_name"), "experiment_name: %q is not a name of an experiment: letters, digits, '.', '-' and '_', beginning with a letter or digit, at most 255 characters", j.ExperimentName)
	}
	for name := range j.Outputs {
		if _, both := j.Inputs[name]; both {
			d.fail(doc.nodeAt("outputs", name), "outputs.%s: is the name of an input too; rename one", name)
		}
	}
	j.checkDistribution(d, doc)
	j.checkPlaceholders(d, doc)
}

// checkDistribution compares a distribution with the number of instances, and fills in the count of workers.
func (j *CommandJob) checkDistribution(d *decoder, doc *Document) {
	x := j.Distribution
	if x == nil || d.mentions("distribution") || d.mentions("resources") {
		return
	}
	instances := max(1, j.Resources.InstanceCount)
	switch x.Type {
	case "mpi":
		if instances > 1 || x.ProcessCountPerInstance > 1 {
			d.fail(doc.nodeAt("distribution", "type"), "distribution.type: mpi with instance_count %d and process_count_per_instance %d is not supported yet: mpi jobs run as one process; use pytorch for several, or set both to 1",
				instances, x.ProcessCountPerInstance)
		}
	case "tensorflow":
		key, servers := "worker_count", x.ParameterServerCount
		if x.WorkerCount == 0 {
			key, x.WorkerCount = "parameter_server_count", instances-servers
		}
		if x.WorkerCount < 1 || x.WorkerCount+servers != instances {
			d.fail(doc.nodeAt("distribution", key), "distribution.%s: %d workers and %d parameter servers do not make resources.instance_count, %d; each instance is one of them, and at least one is a worker",
				key, x.WorkerCount, servers, instances)
		}
	}
}

func (d *decoder) mentions(key string) bool {
	for _, p := range d.problems {
		if strings.HasPrefix(p.Text, key+":") || strings.HasPrefix(p.Text, key+".") {
			return true
		}
	}
	return false
}

// checkPlaceholders finds ${{inputs.x}} and ${{outputs.x}} that name nothing.
func (j *CommandJob) checkPlaceholders(d *decoder, doc *Document) {
	for _, m := range inCommand.FindAllStringSubmatch(j.Command, -1) {
		kind, name, _ := strings.Cut(m[1], ".")
		var known []string
		switch kind {
		case "inputs":
			if _, ok := j.Inputs[name]; ok {
				continue
			}
			for k := range j.Inputs {
				known = append(known, k)
			}
		case "outputs":
			if _, ok := j.Outputs[name]; ok {
				continue
			}
			if name == "default" {
				d.fail(doc.node("command"), "command: %s is not supported yet; name an output below outputs:, or write to ./outputs, which is kept with the job's artifacts", m[0])
				continue
			}
			for k := range j.Outputs {
				known = append(known, k)
			}
		default:
			d.fail(doc.node("command"), "command: %s is not known; ${{inputs.<name>}} and ${{outputs.<name>}} are", m[0])
			continue
		}
		sort.Strings(known)
		if near := nearest.Word(name, known); near != "" {
			d.fail(doc.node("command"), "command: %s names no entry of %s; did you mean %q?", m[0], kind, near)
			continue
		}
		d.fail(doc.node("command"), "command: %s names no entry of %s; there is: %s", m[0], kind, orNone(known))
	}
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
