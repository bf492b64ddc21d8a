package runtime

import (
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"fairlead.dev/fairlead/api/commonruntime"
	"fairlead.dev/fairlead/internal/runtime/podenv"
)

// masterPort is where rank 0 of a PyTorch job listens, and what scripts of MPI jobs take it for; TensorFlow's servers listen on tensorflowPort.
const (
	masterPort     = 6105
	tensorflowPort = 2222
)

// gang is the processes of a job as one pod sees them.
type gang struct {
	nodes, rank, perNode int
	dist                 string
	ps                   int // parameter servers, the last ranks of a TensorFlow job
	hosts, ip            string
}

func newGang(c Config, d *commonruntime.Distribution) (gang, error) {
	g := gang{nodes: c.NodeCount, rank: c.Rank, perNode: 1, hosts: c.Hosts, ip: c.PodIP}
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
		podenv.NodeCount:                strconv.Itoa(g.nodes),
		"AZUREML_CR_NODE_RANK":          strconv.Itoa(g.rank),
		"AZUREML_CR_DISTRIBUTED_CONFIG": g.distributedConfig(),
		"AMLARC_NUM_WORKER":             strconv.Itoa(g.workers()),
		"AMLARC_NUM_PS":                 strconv.Itoa(g.ps),
		"VC_WORKER_NUM":                 strconv.Itoa(g.workers()),
		"VC_WORKER_HOSTS":               strings.Join(g.allHosts()[:g.workers()], ","),
		"VC_TASK_INDEX":                 strconv.Itoa(g.task().Index),
		taskIndex:                       strconv.Itoa(g.rank),
	}
	if g.ps > 0 {
		env["VC_PS_NUM"], env["VC_PS_HOSTS"] = strconv.Itoa(g.ps), strings.Join(g.allHosts()[g.workers():], ",")
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
	case "Mpi":
		maps.Copy(env, map[string]string{
			"AZ_BATCHAI_MPI_MASTER_NODE": g.host(0), "AZ_BATCH_MASTER_NODE": fmt.Sprintf("%s:%d", g.host(0), masterPort),
			"AZ_BATCH_HOST_LIST": strings.Join(g.allHosts(), ","), "AZ_BATCHAI_JOB_MASTER_NODE_IP": g.ip,
		})
	}
	return env
}

func (g gang) processRank(local int) int { return g.rank*g.perNode + local }

// taskIndex is the variable that holds a pod's index among all pods of the job.
const taskIndex = "VK_TASK_INDEX"

// distributedConfig is the gang as one document: all hosts by rank, and the variable that holds the rank.
func (g gang) distributedConfig() string {
	b, _ := json.Marshal(struct {
		Rank     string   `json:"rank"`
		HostList []string `json:"host_list"`
	}{taskIndex, g.allHosts()})
	return string(b)
}

func (g gang) workers() int { return g.nodes - g.ps }

func (g gang) allHosts() []string {
	hosts := make([]string, g.nodes)
	for r := range hosts {
		hosts[r] = g.host(r)
	}
	return hosts
}

// task is what a pod does, with its index among those that do the same.
type task struct {
	Type  string `json:"type"`
	Index int    `json:"index"`
}

func (g gang) task() task {
	if g.rank >= g.workers() {
		return task{Type: "ps", Index: g.rank - g.workers()}
	}
	return task{Type: "worker", Index: g.rank}
}

func (g gang) tfConfig() string {
	cluster := map[string][]string{}
	for r, host := range g.allHosts() {
		role := "worker"
		if r >= g.workers() {
			role = "ps"
		}
		cluster[role] = append(cluster[role], fmt.Sprintf("%s:%d", host, tensorflowPort))
	}
	b, _ := json.Marshal(struct {
		Cluster     map[string][]string `json:"cluster"`
		Task        task                `json:"task"`
		Environment string              `json:"environment"`
	}{cluster, g.task(), "cloud"})
	return string(b)
}
