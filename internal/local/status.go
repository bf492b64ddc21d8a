package local

import (
	"context"
	"time"

	"fairlead.dev/fairlead/internal/local/kubeapi"
	"fairlead.dev/fairlead/internal/local/process"
	"fairlead.dev/fairlead/internal/local/supervisor"
)

// Status is what `fairlead status` shows.
type Status struct {
	Folder     string         `json:"dataDir"`
	Supervisor string         `json:"supervisor"` // Running or Stopped
	Ready      bool           `json:"ready"`
	Kubernetes string         `json:"kubernetes,omitempty"` // the API's address
	Kubeconfig string         `json:"kubeconfig,omitempty"`
	Endpoint   string         `json:"endpoint,omitempty"` // the control plane's address
	Problems   []string       `json:"problems,omitempty"`
	Nodes      []kubeapi.Node `json:"nodes,omitempty"`
	Components []Component    `json:"components"`
}

// Component is one process of the cluster.
type Component struct {
	Name     string `json:"name"`
	Node     string `json:"node,omitempty"`
	State    string `json:"state"` // Running, Backoff, Stopped
	PID      int    `json:"pid,omitempty"`
	Restarts int    `json:"restarts"`
	Since    string `json:"since"`
	Memory   int64  `json:"memoryBytes"`
	LastExit string `json:"lastExit,omitempty"`
}

// ReadStatus asks the supervisor's state, the processes, the Kubernetes API and the control plane.
func ReadStatus(ctx context.Context, f Folder) (Status, error) {
	s := Status{Folder: string(f), Supervisor: "Stopped", Components: []Component{}}
	c, err := LoadConfig(f)
	if err != nil {
		return s, err
	}
	st, err := supervisor.ReadState(f.RunDir())
	if err != nil {
		return s, err
	}
	held := isHeld(f)
	if held {
		s.Supervisor = supervisor.Running
	} else {
		s.Problems = append(s.Problems, "the supervisor does not run; `fairlead up` brings everything back")
	}
	for _, p := range st.Parts {
		s.Components = append(s.Components, componentOf(p))
	}
	s.Problems = append(s.Problems, st.Pending()...)
	s.Kubeconfig = c.Kubeconfig
	if !c.External() {
		s.Kubernetes, s.Kubeconfig = c.API(), f.Kubeconfig()
		s.askKubernetes(ctx, f, c)
	}
	if c.Server != "" {
		s.Endpoint = c.URL()
		ask, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		if err := serverReady(ask, f, c); err != nil {
			s.Problems = append(s.Problems, "the control plane does not answer: "+err.Error())
		}
	}
	s.Ready = held && st.Ready != nil && len(s.Problems) == 0
	return s, nil
}

func (s *Status) askKubernetes(ctx context.Context, f Folder, c Config) {
	ask, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	api, err := kubeapi.New(c.API(), f.Path("pki", "ca.crt"), f.Path("pki", "admin.crt"), f.Path("pki", "admin.key"))
	if err == nil {
		defer api.Close()
		s.Nodes, err = api.Nodes(ask)
	}
	if err != nil {
		s.Problems = append(s.Problems, "the Kubernetes API does not answer: "+err.Error())
		return
	}
	if err := api.NodesReady(ask, c.NodeNames(), time.Time{}); err != nil {
		s.Problems = append(s.Problems, err.Error())
	}
}

func componentOf(p supervisor.PartState) Component {
	c := Component{
		Name: p.Name, Node: p.Node, State: p.State, PID: p.Process.PID, Restarts: p.Restarts, Since: p.Since.UTC().Format(time.RFC3339),
		Memory: process.Memory(p.Process.PID), LastExit: p.LastExit,
	}
	if p.State == supervisor.Running && !process.Alive(p.Process) {
		c.State, c.PID, c.Memory = "Stopped", 0, 0
	}
	return c
}
