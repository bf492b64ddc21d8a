package runtime

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"fairlead.dev/fairlead/api/commonruntime"
	"fairlead.dev/fairlead/internal/runtime/podenv"
)

// masterPort is where rank 0 of a PyTorch job listens; TensorFlow's servers listen on tensorflowPort.
const (
	masterPort     = 6105
	tensorflowPort = 2222
)

// gang is the processes of a job as one pod sees them.
type gang struct {
	nodes, rank, perNode int
	dist                 string
	ps                   int // parameter servers, the last ranks of a TensorFlow job
	hosts                string
}

func newGang(c Config, d *commonruntime.Distribution) (gang, error) {
	g := gang{nodes: c.NodeCount, rank: c.Rank, perNode: 1, hosts: c.Hosts}
	if c.Rank >= c.NodeCount {
		return g, fmt.Errorf("rank %d is not below the number of pods, %d", c.Rank, c.NodeCount)
	}
	if d == nil {
		return g, nil
	}
	g.dist = d.Type
	switch d.Type {
	case "PyTorch":
		g.perNode = max(1, int(d.ProcessCountPerInstance))
	case "TensorFlow":
		g.ps = int(d.ParameterServerCount)
		workers := int(d.WorkerCount)
		if workers == 0 {
			workers = g.nodes - g.ps
		}
		if g.ps < 0 || workers < 1 || workers+g.ps != g.nodes {
			return g, fmt.Errorf("distribution TensorFlow has worker_count %d and parameter_server_count %d, but instance_count is %d; their sum must be instance_count",
				d.WorkerCount, d.ParameterServerCount, g.nodes)
		}
	case "Mpi":
		if g.nodes > 1 || d.ProcessCountPerInstance > 1 {
			return g, fmt.Errorf("distribution Mpi runs with instance_count 1 and process_count_per_instance 1 only, not %d and %d; use pytorch for several processes",
				g.nodes, d.ProcessCountPerInstance)
		}
	default:
		return g, fmt.Errorf("distribution %q is not known; use PyTorch, TensorFlow or Mpi", d.Type)
	}
	return g, nil
}

func (g gang) host(rank int) string {
	if g.hosts == "" {
		return "127.0.0.1"
	}
	return strings.ReplaceAll(g.hosts, podenv.HostRank, strconv.Itoa(rank))
}

// environ are the variables of one process of the gang.
func (g gang) environ(local int) map[string]string {
	env := map[string]string{
		"AZUREML_NODE_COUNT":   strconv.Itoa(g.nodes),
		"AZUREML_CR_NODE_RANK": strconv.Itoa(g.rank),
	}
	switch g.dist {
	case "PyTorch":
		maps.Copy(env, map[string]string{
			"MASTER_ADDR": g.host(0), "MASTER_PORT": strconv.Itoa(masterPort),
			"WORLD_SIZE": strconv.Itoa(g.nodes * g.perNode), "NODE_RANK": strconv.Itoa(g.rank),
			"RANK": strconv.Itoa(g.processRank(local)), "LOCAL_RANK": strconv.Itoa(local),
			"LOCAL_WORLD_SIZE": strconv.Itoa(g.perNode),
		})
	case "TensorFlow":
		env["TF_CONFIG"] = g.tfConfig()
	}
	return env
}

func (g gang) processRank(local int) int { return g.rank*g.perNode + local }

func (g gang) tfConfig() string {
	type task struct {
		Type  string `json:"type"`
		Index int    `json:"index"`
	}
	workers := g.nodes - g.ps
	cluster := map[string][]string{}
	for r := range g.nodes {
		role := "worker"
		if r >= workers {
			role = "ps"
		}
		cluster[role] = append(cluster[role], fmt.Sprintf("%s:%d", g.host(r), tensorflowPort))
	}
	t := task{Type: "worker", Index: g.rank}
	if g.rank >= workers {
		t = task{Type: "ps", Index: g.rank - workers}
	}
	b, _ := json.Marshal(struct {
		Cluster     map[string][]string `json:"cluster"`
		Task        task                `json:"task"`
		Environment string              `json:"environment"`
	}{cluster, t, "cloud"})
	return string(b)
}

// commandEnviron is the environment of one process: what the container has, then the spec's, then what only the runtime knows.
func commandEnviron(c Config, s commonruntime.JobSpec, token string, inputs, outputs map[string]string, extra map[string]string) []string {
	env := make(map[string]string)
	for _, kv := range c.Environ {
		k, v, _ := strings.Cut(kv, "=")
		env[k] = v
	}
	maps.Copy(env, s.Environment)
	maps.Copy(env, map[string]string{
		"AZUREML_CR_EXECUTION_WORKING_DIR_PATH": c.codeDir(),
		"AZUREML_CR_HT_CAP_user_logs_PATH":      filepath.Join(c.filesDir(), "user_logs"),
		"AZUREML_CR_HT_CAP_outputs_PATH":        filepath.Join(c.codeDir(), "outputs"),
		"AZUREML_CR_HT_CAP_logs_PATH":           filepath.Join(c.codeDir(), "logs"),
	})
	if token != "" {
		env["AZUREML_RUN_TOKEN"] = token
		if env["MLFLOW_TRACKING_URI"] != "" {
			env["MLFLOW_TRACKING_TOKEN"] = token
		}
	}
	for name, v := range inputs {
		env["AZURE_ML_INPUT_"+name], env["AZUREML_DATAREFERENCE_"+name] = v, v
		if s.Inputs[name].Type == "literal" {
			delete(env, "AZUREML_DATAREFERENCE_"+name)
			env["AZUREML_PARAMETER_"+name] = v
		}
	}
	for name, v := range outputs {
		env["AZURE_ML_OUTPUT_"+name], env["AZUREML_DATAREFERENCE_"+name] = v, v
	}
	maps.Copy(env, extra)
	out := make([]string, 0, len(env))
	for _, k := range slices.Sorted(maps.Keys(env)) {
		out = append(out, k+"="+env[k])
	}
	return out
}
