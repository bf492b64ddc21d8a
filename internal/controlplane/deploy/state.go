package deploy

import (
	"encoding/json"
	"fmt"
	"time"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/template"
)

// state is what a deployment's record remembers beside the wire.
type state struct {
	// Principal sent the deployment, and makes what is in it.
	Principal resource.Principal `json:"principal"`
	Began     time.Time          `json:"began"`
	// Claimed is until when one server makes resources; another that reads the record leaves it alone until then.
	Claimed time.Time `json:"claimed,omitzero"`
	Steps   []*step   `json:"steps"`
}

// step is one resource of the template.
type step struct {
	ID string `json:"id"`
	// State is "" before it is begun, then Running, then Succeeded, Failed or Canceled.
	State string `json:"state,omitempty"`
	// Operation is the one that is waited for.
	Operation string     `json:"operation,omitempty"`
	Status    int        `json:"status,omitempty"`
	Error     *arm.Error `json:"error,omitempty"`
	// Note says why nothing was made.
	Note  string    `json:"note,omitempty"`
	Began time.Time `json:"began,omitzero"`
	Ended time.Time `json:"ended,omitzero"`
}

func (s *step) end(state string, now time.Time) { s.State, s.Ended = state, now }

func (s *step) fail(e *arm.Error, now time.Time) {
	s.Error, s.Status = e, e.Status
	s.end(arm.StateFailed, now)
}

func decodeState(rec store.Record) (state, error) {
	var st state
	if err := json.Unmarshal(rec.Internal, &st); err != nil {
		return st, fmt.Errorf("decoding state of %s: %w", rec.Key, err)
	}
	return st, nil
}

// decision is what is to be done next.
type decision struct {
	// begin are steps that nothing is waited for; watch those under way.
	begin, watch []*step
	// over: nothing is under way and nothing can be begun. failed: something ended without success.
	over, failed bool
}

// decide looks at the steps of a deployment. Once one has failed no other is begun; those under way are seen to their end.
func decide(resources []*template.Resource, steps []*step) decision {
	var d decision
	byKey := map[string]*step{}
	for _, s := range steps {
		byKey[arm.MustParseID(s.ID).Key()] = s
		d.failed = d.failed || s.State == arm.StateFailed || s.State == arm.StateCanceled
		if s.State == StateRunning {
			d.watch = append(d.watch, s)
		}
	}
	for _, r := range resources {
		s := byKey[r.ID.Key()]
		if s == nil || s.State != "" || d.failed {
			continue
		}
		ready := true
		for _, key := range r.After {
			if w := byKey[key]; w != nil && w.State != arm.StateSucceeded {
				ready = false
			}
		}
		if ready {
			d.begin = append(d.begin, s)
		}
	}
	d.over = len(d.begin) == 0 && len(d.watch) == 0
	return d
}

// failure is the error of a deployment with that of each step.
func failure(steps []*step) *arm.Error {
	out := arm.Errorf(409, "DeploymentFailed", "At least one resource deployment operation failed. Please list deployment operations for details.")
	for _, s := range steps {
		if s.Error != nil {
			e := *s.Error
			e.Target = s.ID
			out.Details = append(out.Details, e)
		}
	}
	return out
}
