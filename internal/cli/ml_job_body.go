package cli

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"fairlead.dev/fairlead/api/arm"
	ml "fairlead.dev/fairlead/api/machinelearning"
	"fairlead.dev/fairlead/internal/cli/spec"
)

// jobBody is the API's form of a job, without the ids that have to be looked up.
func jobBody(j *spec.CommandJob) *ml.CommandJob {
	b := &ml.CommandJob{
		JobType: "Command", DisplayName: j.DisplayName, Description: j.Description, ExperimentName: j.ExperimentName,
		Tags: orEmpty(j.Tags), Properties: orEmpty(j.Properties), Command: j.Command, EnvironmentVariables: orEmpty(j.EnvironmentVariables),
		Inputs: map[string]*ml.JobInput{}, Outputs: map[string]*ml.JobOutput{}, Services: map[string]*ml.JobService{},
	}
	if b.ExperimentName == "" {
		b.ExperimentName = defaultExperiment()
	}
	for name, in := range j.Inputs {
		if in.Literal {
			b.Inputs[name] = &ml.JobInput{JobInputType: "literal", Value: in.Value}
			continue
		}
		b.Inputs[name] = &ml.JobInput{JobInputType: in.Type, Mode: restMode[in.Mode]}
	}
	for name, out := range j.Outputs {
		b.Outputs[name] = &ml.JobOutput{JobOutputType: out.Type, Mode: restMode[out.Mode], URI: out.Path}
	}
	r := &ml.JobResources{InstanceType: j.Resources.InstanceType, ShmSize: j.Resources.ShmSize}
	count := max(1, int(j.Resources.InstanceCount))
	r.InstanceCount = &count
	r.Properties = map[string]any{}
	for k, v := range j.Resources.Properties {
		r.Properties[k] = v
	}
	b.Resources = r
	if j.TimeoutSeconds > 0 {
		b.Limits = &ml.JobLimits{JobLimitsType: "Command", Timeout: isoSeconds(j.TimeoutSeconds)}
	}
	b.Distribution = distributionBody(j.Distribution)
	if j.Identity != nil {
		b.Identity = identityOf(*j.Identity)
	}
	return b
}

func identityOf(i spec.Identity) *ml.JobIdentity {
	if i.Type == "aml_token" {
		return &ml.JobIdentity{IdentityType: ml.IdentityAMLToken}
	}
	return &ml.JobIdentity{IdentityType: ml.IdentityManaged, ClientID: i.ClientID, ObjectID: i.ObjectID, ResourceID: i.ResourceID}
}

func distributionBody(d *spec.Distribution) *ml.Distribution {
	if d == nil {
		return nil
	}
	out := &ml.Distribution{DistributionType: map[string]string{"pytorch": "PyTorch", "mpi": "Mpi", "tensorflow": "TensorFlow"}[d.Type]}
	if d.Type == "tensorflow" {
		workers, servers := int(d.WorkerCount), int(d.ParameterServerCount)
		out.WorkerCount, out.ParameterServerCount = &workers, &servers
		return out
	}
	n := max(1, int(d.ProcessCountPerInstance))
	out.ProcessCountPerInstance = &n
	return out
}

func orEmpty(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

var notInExperiment = regexp.MustCompile(`[^a-zA-Z0-9_-]+`)

// defaultExperiment is the working folder's name, as in the reference.
func defaultExperiment() string {
	dir, err := os.Getwd()
	if err != nil {
		return "Default"
	}
	name := strings.TrimLeft(notInExperiment.ReplaceAllString(filepath.Base(dir), "_"), "_-")
	return cmp.Or(name, "Default")
}

// findEnvironment gives the environment version's id; an inline one is registered under a name made from its content.
func (s *session) findEnvironment(ctx context.Context, ws arm.ID, e spec.Environment) (string, error) {
	if e.Ref == "" {
		props := environmentBody(e)
		props["isAnonymous"] = true
		path := ws.String() + "/environments/CliV2AnonymousEnvironment/versions/" + anonymousVersion(e)
		got, err := s.put(ctx, path, apiML, map[string]any{"properties": props}, true)
		if err != nil {
			return "", fmt.Errorf("environment: %w", err)
		}
		return text(got, "id"), nil
	}
	ref, err := spec.ParseRef(e.Ref)
	if err != nil || ref.ID != "" {
		return ref.ID, err
	}
	version, err := s.resolveVersion(ctx, ws, "environments", ref)
	if err != nil {
		return "", err
	}
	path, err := child(ws.Child("environments", ref.Name), "versions", version)
	if err != nil {
		return "", err
	}
	got, err := s.get(ctx, path, apiML)
	if isNotFound(err) {
		return "", hint(err, "environment: %q is not in workspace %s; see 'fairlead ml environment list', or give image: <image> below environment:.", e.Ref, ws.Name())
	}
	return text(got, "id"), err
}

// anonymousVersion is the version of an environment without a name, made from its content.
func anonymousVersion(e spec.Environment) string {
	content := "image=" + e.Image
	if e.Inference != nil {
		raw, _ := json.Marshal(e.Inference) // of texts and numbers: it cannot fail
		content += " inference=" + string(raw)
	}
	return hashOf(content)
}

// environmentBody is what every environment says of its image.
func environmentBody(e spec.Environment) map[string]any {
	out := map[string]any{"image": e.Image, "osType": "Linux"}
	if e.Inference == nil {
		return out
	}
	routes := map[string]any{}
	for name, r := range map[string]*spec.Route{"livenessRoute": e.Inference.Liveness, "readinessRoute": e.Inference.Readiness, "scoringRoute": e.Inference.Scoring} {
		if r != nil {
			routes[name] = map[string]any{"path": r.Path, "port": r.Port}
		}
	}
	out["inferenceConfig"] = routes
	return out
}

// resolveVersion gives the version of a reference by version or label.
func (s *session) resolveVersion(ctx context.Context, ws arm.ID, typ string, ref spec.Ref) (string, error) {
	if ref.Version != "" {
		return ref.Version, nil
	}
	if ref.Label != "latest" {
		return "", fmt.Errorf("label %q of %s is not known; there is latest", ref.Label, ref.Name)
	}
	path, err := child(ws, typ, ref.Name)
	if err != nil {
		return "", err
	}
	got, err := s.get(ctx, path, apiML)
	if err != nil {
		return "", err
	}
	if v := text(got, "properties", "latestVersion"); v != "" {
		return v, nil
	}
	return "", fmt.Errorf("%s %q has no version", typ, ref.Name)
}

// hashOf names what has no name by its content.
func hashOf(content string) string {
	sum := sha256.Sum256([]byte(content))
	return hex.EncodeToString(sum[:16])
}
