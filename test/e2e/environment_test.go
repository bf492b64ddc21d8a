//go:build cluster

package e2e

import (
	"encoding/json"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// reference is every variable that the reference sets in a training pod, as the second pod of a gang of two has it: the form of its
// value, or why it is not set.
var reference = []struct{ name, form, unset string }{
	{name: "AZUREML_RUN_ID", form: `gang-env`},
	{name: "AZUREML_ROOT_RUN_ID", form: `gang-env`},
	{name: "AZUREML_EXPERIMENT_ID", form: `[0-9a-f-]{36}`},
	{name: "AZUREML_EXPERIMENT_SCOPE", form: `/subscriptions/.*/workspaces/e2ews/experiments/e2e`},
	{name: "AZUREML_WORKSPACE_ID", form: `[0-9a-f-]{36}`},
	{name: "AZUREML_WORKSPACE_SCOPE", form: `/subscriptions/.*/workspaces/e2ews`},
	{name: "AZUREML_ARM_SUBSCRIPTION", form: `[0-9a-f-]{36}`},
	{name: "AZUREML_ARM_RESOURCEGROUP", form: `e2e`},
	{name: "AZUREML_ARM_WORKSPACE_NAME", form: `e2ews`},
	{name: "AZUREML_ARM_PROJECT_NAME", form: `e2e`},
	{name: "AZUREML_SERVICE_ENDPOINT", form: `https://[^/]+`},
	{name: "AZUREML_RUN_HISTORY_SERVICE_ENDPOINT", form: `https://[^/]+`},
	{name: "AZUREML_DISCOVERY_SERVICE_ENDPOINT", form: `https://[^/]+/discovery`},
	{name: "AZUREML_RUN_TOKEN", form: `ey.*\..*\..*`},
	{name: "AZUREML_RUN_TOKEN_EXPIRY", form: `[0-9]{10}`},
	{name: "MLFLOW_TRACKING_URI", form: `http://127\.0\.0\.1:\d+/mlflow/v1\.0/subscriptions/.*/workspaces/e2ews`},
	{name: "MLFLOW_TRACKING_TOKEN", form: `ey.*`},
	{name: "MLFLOW_EXPERIMENT_ID", form: `[0-9a-f-]{36}`},
	{name: "MLFLOW_EXPERIMENT_NAME", form: `e2e`},
	{name: "MLFLOW_RUN_ID", form: `gang-env`},
	{name: "AZUREML_PARAMETER_rate", form: `0\.5`},
	{name: "AZURE_ML_INPUT_rate", form: `0\.5`},
	{name: "AZUREML_DATAREFERENCE_rate", unset: "a literal is no data"},
	{name: "AZURE_ML_OUTPUT_model", form: `/fairlead/mnt/outputs/model`},
	{name: "AZUREML_DATAREFERENCE_model", form: `/fairlead/mnt/outputs/model`},
	{name: "AZUREML_DATASET_FILE_OUTPUTS", unset: "a list for the reference's own data sidecar; each output has AZURE_ML_OUTPUT_<name>"},
	{name: "AZUREML_CR_AZUREML_CONTEXT", unset: "a document for the reference's own sidecars; each of its facts is a variable of its own"},
	{name: "AZUREML_CR_COMPUTE_CONTEXT", form: `\{"cluster_name":"k8s","node_id":\{"EnvironmentVariable":"POD_NAME"\}\}`},
	{name: "AZUREML_CR_DISTRIBUTED_CONFIG", form: `\{"rank":"VK_TASK_INDEX","host_list":\["job-\w+-worker-0-0\.job-\w+-svc","job-\w+-worker-0-1\.job-\w+-svc"\]\}`},
	{name: "AZUREML_CR_NODE_RANK", form: `1`},
	{name: "AZUREML_CR_CORRELATION_ID", unset: "for traces of the reference's own services"},
	{name: "AZUREML_CR_HT_CAP_user_logs_PATH", form: `/fairlead/work/files/user_logs`},
	{name: "AZUREML_CR_HT_CAP_azureml_logs_PATH", form: `/fairlead/work/files/azureml-logs`},
	{name: "AZUREML_CR_HT_CAP_outputs_PATH", form: `/fairlead/work/wd/outputs`},
	{name: "AZUREML_CR_HT_CAP_logs_PATH", form: `/fairlead/work/wd/logs`},
	{name: "AZUREML_CR_EXECUTION_WORKING_DIR_PATH", form: `/fairlead/work/wd`},
	{name: "AZUREML_NODE_COUNT", form: `2`},
	{name: "AML_JOB_ID", form: `[0-9a-f]{32}`},
	{name: "AMLARC_NUM_WORKER", form: `2`},
	{name: "AMLARC_NUM_PS", form: `0`},
	{name: "AMLARC_NUM_GPU_PER_WORKER", form: `0`},
	{name: "VC_WORKER_HOSTS", form: `job-\w+-worker-0-0\.job-\w+-svc,job-\w+-worker-0-1\.job-\w+-svc`},
	{name: "VC_WORKER_NUM", form: `2`},
	{name: "VC_TASK_INDEX", form: `1`},
	{name: "VK_TASK_INDEX", form: `1`},
	{name: "POD_NAME", form: `job-\w+-worker-0-1-\w+`},
	{name: "POD_NAMESPACE", form: `default`},
	{name: "POD_IP", form: `[0-9.]+`},
	{name: "NODE_NAME", form: `fairlead-\d`},
	{name: "MASTER_ADDR", form: `job-\w+-worker-0-0\.job-\w+-svc`},
	{name: "MASTER_PORT", form: `6105`},
	{name: "WORLD_SIZE", form: `2`},
	{name: "NODE_RANK", form: `1`},
	{name: "RANK", form: `1`},
	{name: "LOCAL_RANK", form: `0`},
	{name: "TF_CONFIG", unset: "of tensorflow jobs"},
	{name: "AZ_BATCHAI_MPI_MASTER_NODE", unset: "of mpi jobs"},
	{name: "AZ_BATCH_MASTER_NODE", unset: "of mpi jobs"},
	{name: "AZ_BATCH_HOST_LIST", unset: "of mpi jobs"},
	{name: "AZ_BATCHAI_JOB_MASTER_NODE_IP", unset: "of mpi jobs"},
	{name: "OMPI_COMM_WORLD_RANK", unset: "set by mpirun"},
	{name: "AZUREML_OBO_ENABLED", unset: "no job acts as its user"},
	{name: "OBO_ENDPOINT", unset: "no job acts as its user"},
	{name: "MSI_ENDPOINT", form: `http://127\.0\.0\.1:12342/token`},
	{name: "MSI_SECRET", form: `[A-Z2-7]{26}`},
	{name: "DEFAULT_IDENTITY_CLIENT_ID", form: `[0-9a-f-]{36}`},
	{name: "IDENTITY_ENDPOINT", form: `http://127\.0\.0\.1:12342/token`},
	{name: "IDENTITY_HEADER", form: `[A-Z2-7]{26}`},
}

func TestJob_SetsTheVariablesOfTheReference(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "src/log.py", logByHTTP)
	write(t, dir, "job.yml", header+`command: env | sort && python3 log.py
code: src
environment_variables: {MINE: yes please}
inputs: {rate: 0.5}
outputs: {model: {type: uri_folder}}
resources: {instance_count: 2}
distribution: {type: pytorch}
`)
	must(t, ml("job", "create", "-f", filepath.Join(dir, "job.yml"), "--name", "gang-env", "-o", "json")...)
	awaitStatus(t, "gang-env", "Completed", startLimit)
	env := variables(must(t, ml("job", "stream", "-n", "gang-env", "--process", "1")...))
	for _, v := range reference {
		value, set := env[v.name]
		switch {
		case v.unset != "" && set:
			t.Errorf("%s is %q; not set, because: %s", v.name, value, v.unset)
		case v.unset == "" && !regexp.MustCompile("^(?:"+v.form+")$").MatchString(value):
			t.Errorf("%s is %q, want the form %s", v.name, value, v.form)
		}
	}
	if env["MINE"] != "yes please" {
		t.Errorf("the job's own variable is %q", env["MINE"])
	}
	logged(t, "gang-env")
}

// logByHTTP is what MLflow's client does: both pods log to the run of the job.
const logByHTTP = `import json, os, urllib.request
def call(operation, **body):
    request = urllib.request.Request(os.environ["MLFLOW_TRACKING_URI"] + "/api/2.0/mlflow/" + operation, json.dumps(body).encode(),
                                     {"Authorization": "Bearer " + os.environ["MLFLOW_TRACKING_TOKEN"], "Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request))
call("runs/log-batch", run_id=os.environ["MLFLOW_RUN_ID"], params=[{"key": "lr", "value": "0.1"}],
     metrics=[{"key": "loss of " + os.environ["RANK"], "value": 0.25, "timestamp": 1, "step": 1}])
`

// logged checks that a job is a run with what its pods logged, and with its own state.
func logged(t *testing.T, job string) {
	t.Helper()
	var got struct {
		Run struct {
			Info struct{ Status string }
			Data struct {
				Metrics []struct {
					Key   string
					Value float64
				}
				Params []struct{ Key, Value string }
			}
		}
	}
	text := must(t, "rest", "--method", "get", "--url", "/mlflow/v1.0"+workspaceID(t)+"/api/2.0/mlflow/runs/get?run_id="+job)
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	d := got.Run.Data
	if got.Run.Info.Status != "FINISHED" || len(d.Metrics) != 2 || d.Metrics[0].Key != "loss of 0" || d.Metrics[1].Key != "loss of 1" || d.Metrics[1].Value != 0.25 || len(d.Params) != 1 || d.Params[0].Value != "0.1" {
		t.Errorf("the job's run is %s", text)
	}
}

// TestJob_TensorFlow: a parameter server knows its role, and ends with the workers although it would serve for ever.
func TestJob_TensorFlow(t *testing.T) {
	submit(t, "tf", header+`command: env | sort; if [ $AZUREML_CR_NODE_RANK = 1 ]; then sleep 3600; fi
resources: {instance_count: 2}
distribution: {type: tensorflow, parameter_server_count: 1}
`)
	awaitStatus(t, "tf", "Completed", startLimit)
	env := variables(must(t, ml("job", "stream", "-n", "tf", "--process", "1")...))
	for name, form := range map[string]string{
		"TF_CONFIG":         `\{"cluster":\{"ps":\["job-.*-1\..*:2222"\],"worker":\["job-.*-0\..*:2222"\]\},"task":\{"type":"ps","index":0\},"environment":"cloud"\}`,
		"AMLARC_NUM_WORKER": "1", "AMLARC_NUM_PS": "1", "VC_TASK_INDEX": "0", "VK_TASK_INDEX": "1",
	} {
		if !regexp.MustCompile("^" + form + "$").MatchString(env[name]) {
			t.Errorf("%s is %q, want the form %s", name, env[name], form)
		}
	}
}

// variables reads the lines of env.
func variables(log string) map[string]string {
	env := map[string]string{}
	for line := range strings.Lines(log) {
		if name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "="); ok {
			env[name] = value
		}
	}
	return env
}
