package runstate

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/api/machinelearning"
	"fairlead.dev/fairlead/internal/controlplane/store"
)

// View is what a user sees of a job's progress.
type View struct {
	// Status is one of the JobStatus words.
	Status string
	// Reason is a stable word and Message a sentence for a person; both "" when there is nothing to say.
	Reason, Message string
	ExitCode        *int
}

// Read is the view that a record's body has.
func Read(rec store.Record) (View, error) {
	var body struct{ Properties machinelearning.CommandJob }
	if err := json.Unmarshal(rec.Body, &body); err != nil {
		return View{}, fmt.Errorf("decoding job %s: %w", rec.Key, err)
	}
	p := body.Properties
	v := View{Status: p.Status, Reason: p.Properties[machinelearning.PropStatusReason], Message: p.Properties[machinelearning.PropStatusMessage]}
	if n, err := strconv.Atoi(p.Properties[machinelearning.PropExitCode]); err == nil {
		v.ExitCode = &n
	}
	return v, nil
}

// Write puts the view and the state into a record; changed is false when it had both already.
func Write(rec store.Record, st State, v View) (out store.Record, changed bool, err error) {
	var body map[string]any
	if err := json.Unmarshal(rec.Body, &body); err != nil {
		return rec, false, fmt.Errorf("decoding job %s: %w", rec.Key, err)
	}
	props, ok := body["properties"].(map[string]any)
	if !ok {
		return rec, false, fmt.Errorf("job %s has no properties", rec.Key)
	}
	own, ok := props["properties"].(map[string]any)
	if !ok {
		own = map[string]any{}
		props["properties"] = own
	}
	props["status"] = v.Status
	for k, s := range ownProperties(st, v) {
		if s == "" {
			delete(own, k)
			continue
		}
		own[k] = s
	}
	delete(props, "error")
	if v.Status == machinelearning.JobFailed {
		props["error"] = machinelearning.JobError{Code: v.Reason, Message: v.Message}
	}
	before, err := canonical(rec.Body)
	if err != nil {
		return rec, false, err
	}
	out = rec
	if out.Body, err = json.Marshal(body); err != nil {
		return rec, false, fmt.Errorf("encoding job %s: %w", rec.Key, err)
	}
	if out.Internal, err = st.Encode(); err != nil {
		return rec, false, err
	}
	after, err := canonical(out.Body)
	if err != nil {
		return rec, false, err
	}
	return out, !bytes.Equal(before, after) || !bytes.Equal(rec.Internal, out.Internal), nil
}

func ownProperties(st State, v View) map[string]string {
	m := map[string]string{
		machinelearning.PropStatusReason:  v.Reason,
		machinelearning.PropStatusMessage: v.Message,
		machinelearning.PropStartTime:     arm.FormatTime(st.StartedAt),
		machinelearning.PropEndTime:       arm.FormatTime(st.EndedAt),
		machinelearning.PropExitCode:      "",
		machinelearning.PropAttempt:       "",
	}
	if v.ExitCode != nil {
		m[machinelearning.PropExitCode] = strconv.Itoa(*v.ExitCode)
	}
	if st.Attempt > 0 {
		m[machinelearning.PropAttempt] = strconv.Itoa(st.Attempt)
	}
	return m
}

// canonical is JSON with sorted keys and without spaces.
func canonical(raw json.RawMessage) ([]byte, error) {
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		return nil, fmt.Errorf("decoding body: %w", err)
	}
	return json.Marshal(v)
}
