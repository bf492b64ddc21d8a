package types

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/api/commonruntime"
	"fairlead.dev/fairlead/api/machinelearning"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types/account"
	"fairlead.dev/fairlead/internal/controlplane/types/clusterstate"
	"fairlead.dev/fairlead/internal/controlplane/types/dataaddress"
	"fairlead.dev/fairlead/internal/controlplane/types/runstate"
	"fairlead.dev/fairlead/internal/controlplane/types/trackedjob"
	"fairlead.dev/fairlead/internal/controlplane/types/uri"
)

// TrainingDisabled is what a job or a compute hears when the extension has no training.
const TrainingDisabled = `E45004:"Training feature is not enabled, please enable it when install the extension."`

// resolveJob looks up everything a job names, so that what the cluster is told later needs nothing but the record.
func (d Deps) resolveJob(ctx context.Context, r store.Reader, id arm.ID, j *machinelearning.CommandJob) (runstate.State, error) {
	ws := workspaceOf(id)
	wsRec, err := getWorkspace(ctx, r, id)
	if err != nil {
		return runstate.State{}, err
	}
	st, err := d.resolveCompute(ctx, r, ws, j)
	if err != nil {
		return st, err
	}
	speaksAs := st.Spec.Identity
	run, acct := id.Name(), StorageAccountOf(wsRec)
	folder, err := runFolder(ctx, r, acct, run, &st)
	if err != nil {
		return st, err
	}
	st.Spec = commonruntime.JobSpec{Version: commonruntime.Version, Name: run, Command: trimPlaceholders(j.Command),
		Artifacts: d.Blobs.URL(acct, ArtifactContainer, ArtifactsPath(folder)), BlobBase: d.PublicURL + "/blob/", Identity: speaksAs}
	env, err := d.findAsset(ctx, r, ws, "properties.environmentId", j.EnvironmentID, "environments")
	if err != nil {
		return st, err
	}
	j.EnvironmentID, st.Image = env.ID, field(env, "image")
	if j.CodeID != "" {
		if err := d.resolveCode(ctx, r, ws, j, &st.Spec); err != nil {
			return st, err
		}
	}
	if st.Spec.Inputs, err = d.resolveInputs(ctx, r, ws, j); err != nil {
		return st, err
	}
	defaultOutputs(j, folder)
	if st.Spec.Outputs, err = d.resolveOutputs(ctx, r, ws, j); err != nil {
		return st, err
	}
	d.needVersion(&st.Spec)
	if st.Spec.Environment, err = d.environmentVariables(ws, wsRec, run, j); err != nil {
		return st, err
	}
	return st, setSizes(&st, j)
}

// needVersion says which version of the document a job needs, and where datastores elsewhere are, if it has any. A runtime that does
// not know of these refuses the document.
func (d Deps) needVersion(spec *commonruntime.JobSpec) {
	base := d.PublicURL + dataaddress.Prefix
	elsewhere, writes := false, false
	for _, in := range spec.Inputs {
		elsewhere, writes = elsewhere || strings.HasPrefix(in.URL, base), writes || in.Write
	}
	for _, out := range spec.Outputs {
		elsewhere = elsewhere || strings.HasPrefix(out.URL, base)
	}
	if elsewhere {
		spec.DatastoreBase = base
	}
	if elsewhere || writes {
		spec.Version = commonruntime.Version3
	}
}

// runFolder chooses where a new run keeps its files, and notes it in the state when it is not the run's name.
func runFolder(ctx context.Context, r store.Reader, acct, run string, st *runstate.State) (string, error) {
	folder, err := account.Folder(ctx, r, acct, run)
	if folder != run {
		st.Folder = folder
	}
	return folder, err
}

// setSizes copies what checkJob has checked.
func setSizes(st *runstate.State, j *machinelearning.CommandJob) error {
	st.InstanceCount, st.ShmSize = int32(*j.Resources.InstanceCount), shmQuantity(j.Resources.ShmSize)
	var err error
	if st.MaxRestarts, err = restarts(j); err != nil {
		return err
	}
	if j.Limits != nil && j.Limits.Timeout != "" {
		limit, err := parseISODuration(j.Limits.Timeout)
		if err != nil {
			return arm.Invalid("properties.limits.timeout", "properties.limits.timeout: %v.", err)
		}
		st.Spec.TimeoutSeconds = int64(limit / time.Second)
	}
	if dist := j.Distribution; dist != nil {
		count := func(p *int) int32 {
			if p == nil {
				return 0
			}
			return int32(*p)
		}
		st.Spec.Distribution = &commonruntime.Distribution{Type: dist.DistributionType, ProcessCountPerInstance: count(dist.ProcessCountPerInstance),
			WorkerCount: count(dist.WorkerCount), ParameterServerCount: count(dist.ParameterServerCount)}
	}
	return nil
}

func (d Deps) resolveCode(ctx context.Context, r store.Reader, ws arm.ID, j *machinelearning.CommandJob, spec *commonruntime.JobSpec) error {
	rec, err := d.findAsset(ctx, r, ws, "properties.codeId", j.CodeID, "codes")
	if err != nil {
		return err
	}
	j.CodeID = rec.ID
	spec.Code, err = d.resolveURI(ctx, r, ws, "properties.codeId", field(rec, "codeUri"))
	return err
}

// computeID reads a compute: a resource id of this workspace, azureml:<name> or a bare name. at names the field in errors.
func computeID(ws arm.ID, at, s string) (arm.ID, error) {
	name := strings.TrimPrefix(s, "azureml:")
	if strings.HasPrefix(name, "/") {
		id, err := arm.ParseID(name)
		if err != nil {
			return id, arm.Invalid(at, "%s: %v.", at, err)
		}
		parent, _ := id.Parent()
		if parent.Key() != ws.Key() || !strings.EqualFold(id.Type(), mlType("workspaces/computes")) {
			return id, arm.Invalid(at, "%s is %q; it must be a compute of workspace %s: %s.", at, s, ws.Name(), ws.Child("computes", "<name>"))
		}
		return id, nil
	}
	if name == "" || name == "local" || strings.ContainsAny(name, "/:") {
		return arm.ID{}, arm.Invalid(at, "%s is %q; give the id or the name of a compute of workspace %s. List them with 'ml compute list'.", at, s, ws.Name())
	}
	return ws.Child("computes", name), nil
}

func (d Deps) resolveCompute(ctx context.Context, r store.Reader, ws arm.ID, j *machinelearning.CommandJob) (runstate.State, error) {
	rec, c, cluster, err := findCompute(ctx, r, ws, "properties.computeId", j.ComputeID)
	if err != nil {
		return runstate.State{}, err
	}
	j.ComputeID = rec.ID
	st := runstate.State{Compute: rec.Key, Cluster: cluster, Namespace: c.Properties.Namespace}
	if err := d.resolveIdentity(ctx, r, rec, j.Identity, &st); err != nil {
		return st, err
	}
	facts, err := clusterstate.Features(ctx, r, cluster)
	if err == nil && facts.Exists && (j.Resources.InstanceType != "" || c.Properties.DefaultInstanceType != "") {
		facts.Nodes, facts.NodesAt, err = clusterstate.Nodes(ctx, r, cluster)
	}
	if err != nil {
		return st, err
	}
	st.InstanceType, err = pickInstanceType(facts, c, j.Resources.InstanceType, rec.Name)
	return st, err
}

// findCompute looks an attached compute up, and gives the Key of its cluster too. at names the field in errors.
func findCompute(ctx context.Context, r store.Reader, ws arm.ID, at, s string) (rec store.Record, c machinelearning.ComputeProperties, cluster string, err error) {
	id, err := computeID(ws, at, s)
	if err != nil {
		return rec, c, "", err
	}
	rec, err = r.Get(ctx, id.Key())
	if errors.Is(err, store.ErrNotFound) {
		return rec, c, "", arm.Invalid(at, "%s names compute %q, which workspace %s does not have. List them with 'ml compute list', or attach it first.", at, id.Name(), ws.Name())
	}
	if err != nil {
		return rec, c, "", fmt.Errorf("reading compute %s: %w", id.Name(), err)
	}
	if err := unmarshalProperties(rec, &c); err != nil {
		return rec, c, "", err
	}
	if err := usableCompute(at, rec.Name, c); err != nil {
		return rec, c, "", err
	}
	if cluster, err = clusterstate.Key(c.ResourceID); err != nil {
		return rec, c, "", arm.Invalid(at, "Compute %s: %v.", rec.Name, err)
	}
	return rec, c, cluster, nil
}

// usableCompute refuses a compute that is not attached.
func usableCompute(at, name string, c machinelearning.ComputeProperties) error {
	if c.ProvisioningState == arm.StateSucceeded && c.Properties != nil {
		return nil
	}
	msg := fmt.Sprintf("%s names compute %q, which is %s", at, name, c.ProvisioningState)
	if len(c.ProvisioningErrors) > 0 && c.ProvisioningErrors[0].Error != nil {
		e := c.ProvisioningErrors[0].Error
		return arm.Invalid(at, "%s (%s: %s). Attach it again when that is mended.", msg, e.Code, e.Message)
	}
	return arm.Invalid(at, "%s; wait until it is Succeeded.", msg)
}

// pickInstanceType chooses the instance type and refuses what the cluster is known not to have.
func pickInstanceType(f clusterstate.Facts, c machinelearning.ComputeProperties, asked, compute string) (string, error) {
	if !f.Exists {
		return "", arm.Invalid("properties.computeId", "The cluster of compute %s, %s, does not exist any more; connect it again and attach the compute anew.", compute, c.ResourceID)
	}
	if f.Extension.Exists && !f.Extension.Training {
		return "", arm.Invalid("properties.computeId", "%s (cluster %s, extension %s: set enableTraining=True)", TrainingDisabled, f.Name, f.Extension.Name)
	}
	return instanceType(f, c, asked, compute, "properties.resources.instanceType")
}

// instanceType is the one asked for or the compute's default, as the cluster spells it; "" is the cluster's default. at names the field.
func instanceType(f clusterstate.Facts, c machinelearning.ComputeProperties, asked, compute, at string) (string, error) {
	from := at
	if asked == "" {
		asked, from = c.Properties.DefaultInstanceType, "defaultInstanceType of compute "+compute
	}
	if asked == "" {
		return "", nil
	}
	name, names, known := f.InstanceType(asked)
	if known && name == "" {
		return "", arm.Invalid(at, "%s is %q, which cluster %s does not have; it has: %s.", from, asked, f.Name, oneOf(names))
	}
	return name, nil
}

// environmentVariables are the user's variables and, over them, those that tell a run who it is.
func (d Deps) environmentVariables(ws arm.ID, wsRec store.Record, run string, j *machinelearning.CommandJob) (map[string]string, error) {
	compute, err := json.Marshal(map[string]any{"cluster_name": j.ComputeID[strings.LastIndexByte(j.ComputeID, '/')+1:],
		"node_id": map[string]string{"EnvironmentVariable": "POD_NAME"}})
	if err != nil {
		return nil, fmt.Errorf("encoding compute context: %w", err)
	}
	env := make(map[string]string, len(j.EnvironmentVariables)+24)
	for k, v := range j.EnvironmentVariables {
		env[k] = v
	}
	for name, in := range j.Inputs {
		if s, ok := in.Value.(string); ok && in.JobInputType == "literal" {
			env["AZUREML_PARAMETER_"+name] = s
		}
	}
	workspaceID := field(wsRec, "workspaceId")
	experiment := trackedjob.ExperimentID(workspaceID, j.ExperimentName)
	scope := ws.String()
	for k, v := range map[string]string{
		"AZUREML_RUN_ID": run, "AZUREML_ROOT_RUN_ID": run,
		"AZUREML_EXPERIMENT_ID": experiment, "AZUREML_EXPERIMENT_SCOPE": scope + "/experiments/" + j.ExperimentName,
		"AZUREML_WORKSPACE_ID": workspaceID, "AZUREML_WORKSPACE_SCOPE": scope,
		"AZUREML_ARM_SUBSCRIPTION": ws.Subscription, "AZUREML_ARM_RESOURCEGROUP": ws.ResourceGroup,
		"AZUREML_ARM_WORKSPACE_NAME": ws.Name(), "AZUREML_ARM_PROJECT_NAME": j.ExperimentName,
		"AZUREML_SERVICE_ENDPOINT": d.PublicURL, "AZUREML_RUN_HISTORY_SERVICE_ENDPOINT": d.PublicURL,
		"AZUREML_DISCOVERY_SERVICE_ENDPOINT": d.PublicURL + "/discovery",
		"MLFLOW_TRACKING_URI":                "azureml://" + d.host() + "/mlflow/v1.0" + scope,
		"MLFLOW_EXPERIMENT_ID":               experiment, "MLFLOW_EXPERIMENT_NAME": j.ExperimentName, "MLFLOW_RUN_ID": run,
		"AZUREML_CR_COMPUTE_CONTEXT": string(compute),
	} {
		env[k] = v
	}
	return env, nil
}

// assetKey is the key of the version that a reference names; labels are looked up.
func (d Deps) assetKey(ctx context.Context, r store.Reader, ws arm.ID, at, s, typ string) (string, error) {
	ref, err := uri.Parse(s)
	if err == nil && ref.Kind == uri.Asset && ref.Label == "" && (ref.Workspace == "" || ref.Workspace == ws.Key()) && (ref.Type == "" || ref.Type == typ) {
		return ws.Child(typ, ref.Name).Child("versions", ref.Version).Key(), nil
	}
	rec, err := d.findAsset(ctx, r, ws, at, s, typ)
	return rec.Key, err
}
