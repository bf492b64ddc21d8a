package types

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"strings"
	"time"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/api/commonruntime"
	"fairlead.dev/fairlead/api/machinelearning"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types/account"
	"fairlead.dev/fairlead/internal/controlplane/types/runstate"
	"fairlead.dev/fairlead/internal/controlplane/types/trackedjob"
	"fairlead.dev/fairlead/internal/link"
)

var jobName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,254}$`)

const jobNameHelp = "1 to 255 letters, digits, '-' and '_', beginning with a letter or digit"

func job(d Deps) *resource.Type {
	return &resource.Type{
		Namespace: nsML, Name: "workspaces/jobs",
		APIVersions: mlVersions,
		NameRule:    jobName, NameHelp: jobNameHelp,
		NewestFirst: true, Archivable: true, NoProvisioningState: true,
		Admit: func(ctx context.Context, p *resource.Put) error {
			if p.Old != nil {
				return d.updateJob(ctx, p)
			}
			return d.createJob(ctx, p, nil)
		},
		Remove:  d.removeJob,
		Samples: jobSamples,
		Actions: map[string]resource.Action{"cancel": {Permission: "write", Run: d.cancelJob}},
		Filter:  filterJob,
	}
}

// jobSamples are kept under the id that the job has in its cluster; before it has one there are none.
func jobSamples(ctx context.Context, r store.Reader, rec store.Record, from, to time.Time) ([]store.Sample, error) {
	st, err := runstate.Decode(rec)
	if err != nil || st.JobID == "" {
		return nil, err
	}
	return r.Samples(ctx, st.JobID, from, to)
}

// jobKey is a job's key in the maps of its cluster.
func jobKey(id string) string { return link.PrefixJob + id }

func isTerminal(rec store.Record) bool { return runstate.Terminal(field(rec, "status")) }

// maxJob bounds a job's document in bytes: it travels in the link and in a ConfigMap.
const maxJob = 256 << 10

// createJob admits a new job; batch is how it scores files, if that is its work.
func (d Deps) createJob(ctx context.Context, p *resource.Put, batch *commonruntime.Batch) error {
	props, err := object(p.Body, "properties")
	if err != nil {
		return err
	}
	restore(props, nil, "status", "parameters", "error")
	j, err := readJob(props, p.ID.Name())
	if err != nil {
		return err
	}
	st, err := d.resolveJob(ctx, p.Tx, p.ID, j)
	if err != nil {
		return err
	}
	if batch != nil {
		st.Spec.Batch, st.Spec.Version = batch, commonruntime.Version4
	}
	j.Status, j.Services = machinelearning.JobNotStarted, d.jobServices(p.ID)
	j.Properties = maps.Clone(orEmpty(j.Properties))
	j.Properties[machinelearning.PropArtifacts] = artifactsURI(st.RunFolder(p.ID.Name()))
	if err := overlay(props, j); err != nil {
		return err
	}
	if p.Record.Internal, err = st.Encode(); err != nil {
		return err
	}
	if n := len(p.Record.Internal); n > maxJob {
		return arm.Invalid("properties", "The job's command, variables, inputs and outputs are %d bytes in all; at most %d are allowed. Put long texts into the code folder.", n, maxJob)
	}
	p.Record.Archived = j.IsArchived
	if err := trackedjob.Add(ctx, p.Tx, p.Record.Name, p.Principal.Name, p.Record.CreatedAt, j, st); err != nil {
		return err
	}
	return wakeJob(ctx, p.Tx, p.ID.Key())
}

// readJob decodes a job's properties, checks what needs no look-up, and sets defaults.
func readJob(props map[string]any, name string) (*machinelearning.CommandJob, error) {
	var j machinelearning.CommandJob
	if typ, ok := props["jobType"].(string); ok && !strings.EqualFold(typ, "Command") && typ != "" {
		return nil, arm.Invalid("properties.jobType", "properties.jobType is %q, which is not available in this release; Command is.", typ)
	}
	textLabels(props)
	if err := decode(props, &j); err != nil {
		return nil, err
	}
	if err := checkJob(&j, name); err != nil {
		return nil, err
	}
	return &j, nil
}

// jobServices are the endpoints that every job has.
func (d Deps) jobServices(id arm.ID) map[string]*machinelearning.JobService {
	studio := fmt.Sprintf("%s/studio/runs/%s?wsid=%s&tid=%s", d.PublicURL, id.Name(), workspaceOf(id), d.TenantID)
	tracking := "azureml://" + d.host() + "/mlflow/v1.0" + workspaceOf(id).String()
	return map[string]*machinelearning.JobService{
		"Studio":   {JobServiceType: "Studio", Endpoint: &studio},
		"Tracking": {JobServiceType: "Tracking", Endpoint: &tracking},
	}
}

func (d Deps) removeJob(ctx context.Context, r *resource.Removal) (bool, error) {
	st, err := runstate.Decode(r.Record)
	if err != nil {
		return false, err
	}
	if !isTerminal(r.Record) && !r.Force {
		return false, arm.Errorf(409, "Conflict", "Job %s is %s; cancel it first, or delete with forceDelete=true.", r.Record.Name, field(r.Record, "status"))
	}
	if st.JobID != "" { // else no pod had a token to write with
		acct, err := getAccount(ctx, r.Tx, r.ID)
		if err != nil {
			return false, err
		}
		if err := account.Used(ctx, r.Tx, acct, r.Record.Name, st.RunFolder(r.Record.Name), d.Clock().UTC()); err != nil {
			return false, err
		}
	}
	if err := trackedjob.Remove(ctx, r.Tx, r.Record.Name, st); err != nil {
		return false, err
	}
	return false, forgetJob(ctx, r.Tx, r.Record.Key, st)
}

// cancelJob asks for the job's end; a job that no cluster knows of ends at once.
func (d Deps) cancelJob(ctx context.Context, a *resource.Call) (any, error) {
	return nil, a.Store.Update(ctx, func(tx store.Tx) error {
		rec, err := tx.Get(ctx, a.Record.Key)
		if err != nil {
			return fmt.Errorf("reading job %s: %w", a.Record.Name, err)
		}
		v, err := runstate.Read(rec)
		if err != nil {
			return err
		}
		switch v.Status {
		case machinelearning.JobCanceled, machinelearning.JobCancelRequested:
			return nil
		case machinelearning.JobCompleted, machinelearning.JobFailed:
			return arm.Errorf(409, "JobAlreadyEnded", "Job %s is %s already; there is nothing to cancel.", rec.Name, v.Status)
		}
		st, err := runstate.Decode(rec)
		if err != nil {
			return err
		}
		st.CancelRequested = true
		v.Status = machinelearning.JobCancelRequested
		if st.JobID == "" {
			now := d.Clock().UTC()
			st.EndedAt, st.RecordedAt, st.Removed = now, now, true
			v = runstate.View{Status: machinelearning.JobCanceled, Reason: "Canceled", Message: "Canceled before the cluster was told of it."}
			if err := forgetJob(ctx, tx, rec.Key, st); err != nil {
				return err
			}
		}
		rec, _, err = runstate.Write(rec, st, v)
		if err != nil {
			return err
		}
		rec.UpdatedAt, rec.UpdatedBy = d.Clock().UTC(), a.Principal.Name
		if _, err = tx.Put(ctx, rec); err != nil {
			return err
		}
		return trackedjob.State(ctx, tx, rec, st, v.Status)
	})
}

func filterJob(q map[string]string, rec store.Record) bool {
	if t := q["jobType"]; t != "" && !strings.EqualFold(t, field(rec, "jobType")) {
		return false
	}
	tag := q["tag"]
	if tag == "" {
		return true
	}
	var body struct {
		Properties struct{ Tags map[string]string } `json:"properties"`
	}
	if json.Unmarshal(rec.Body, &body) != nil {
		return false
	}
	key, value, withValue := strings.Cut(tag, "=")
	have, ok := body.Properties.Tags[key]
	return ok && (!withValue || have == value)
}
