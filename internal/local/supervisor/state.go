package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"fairlead.dev/fairlead/internal/local/process"
)

// States of a step and of a part.
const (
	Waiting = "Waiting" // for the steps before it
	Working = "Working" // a step that is being done
	Done    = "Done"    // a step that succeeded
	Failing = "Failing" // a step that failed and is tried again
	Running = "Running" // a part whose process runs
	Backoff = "Backoff" // a part that ended and is started again in a moment
)

// State is what the supervisor tells others, as a file that is replaced at every change.
type State struct {
	Supervisor process.ID  `json:"supervisor"`
	Config     string      `json:"config"` // hash of the configuration it runs
	Started    time.Time   `json:"started"`
	Ready      *time.Time  `json:"ready,omitempty"` // when the last step that others wait for was done
	Steps      []StepState `json:"steps"`
	Parts      []PartState `json:"parts"`
}

// StepState is one step's progress.
type StepState struct {
	Name    string     `json:"name"`
	Title   string     `json:"title"`
	State   string     `json:"state"`
	Error   string     `json:"error,omitempty"` // of the last try
	Started *time.Time `json:"started,omitempty"`
	Ended   *time.Time `json:"ended,omitempty"`
	// Background: nobody waits for it.
	Background bool `json:"background,omitempty"`
}

// PartState is one long-running program.
type PartState struct {
	Name     string     `json:"name"`
	Node     string     `json:"node,omitempty"`
	State    string     `json:"state"`
	Process  process.ID `json:"process"`
	Since    time.Time  `json:"since"`
	Restarts int        `json:"restarts"`
	LastExit string     `json:"lastExit,omitempty"`
	Log      string     `json:"log"`
}

// StateFile is where the supervisor of a run folder keeps its state.
func StateFile(runDir string) string { return filepath.Join(runDir, "state.json") }

// ReadState reads the state; a zero State if there has been no supervisor.
func ReadState(runDir string) (State, error) {
	var s State
	data, err := os.ReadFile(StateFile(runDir))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, fmt.Errorf("reading the supervisor's state: %w", err)
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return s, fmt.Errorf("reading the supervisor's state %s: %w", StateFile(runDir), err)
	}
	return s, nil
}

// WriteJSON replaces a file by a value's JSON in one step.
func WriteJSON(path string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	tmp := path + ".new"
	if err := os.WriteFile(tmp, append(data, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// Pending are the titles of the steps that are waited for, and of those that fail with their error.
func (s State) Pending() []string {
	var out []string
	for _, st := range s.Steps {
		switch {
		case st.State == Failing:
			out = append(out, st.Title+": "+st.Error)
		case st.State == Working && !st.Background:
			out = append(out, st.Title)
		}
	}
	return out
}
