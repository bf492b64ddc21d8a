package blobs

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"fairlead.dev/fairlead/api/commonruntime"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/store/sqlite"
	"fairlead.dev/fairlead/internal/controlplane/types/runstate"
)

func TestAuthorizer(t *testing.T) {
	ctx := t.Context()
	st, err := sqlite.Open(ctx, filepath.Join(t.TempDir(), "fairlead.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	const ws = "/subscriptions/s/resourcegroups/g/providers/microsoft.machinelearningservices/workspaces/w"
	account := AccountName(ws)
	state, err := runstate.State{Spec: commonruntime.JobSpec{Artifacts: "https://x/blob/" + account + "/azureml/ExperimentRun/dcid.run1",
		Outputs: map[string]commonruntime.Output{"model": {URL: "https://x/blob/" + account + "/azureml-blobstore-1/azureml/run1/model"},
			"whole": {URL: "https://x/blob/" + account + "/whole-container"}}}}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	err = st.Update(ctx, func(tx store.Tx) error {
		_, err1 := tx.Put(ctx, store.Record{Key: ws, ID: ws, Type: workspaceType, Name: "w", Body: json.RawMessage(`{}`)})
		_, err2 := tx.Put(ctx, store.Record{Key: ws + "/jobs/run1", ID: ws + "/jobs/run1", Type: runstate.JobType, Parent: ws, Name: "run1", Body: json.RawMessage(`{}`), Internal: state})
		return errors.Join(err1, err2)
	})
	if err != nil {
		t.Fatal(err)
	}
	a := NewAuthorizer(st, func(_ context.Context, p resource.Principal, permission, scope string) error {
		if scope != ws || (p.ID != permission && p.ID != "both") {
			return errors.New("no role")
		}
		return nil
	}, nil)
	run := resource.Principal{Kind: "Run", Scope: ws + "/jobs/run1"}
	user := func(id string) resource.Principal { return resource.Principal{Kind: "User", ID: id} }
	for name, c := range map[string]struct {
		p                        resource.Principal
		account, container, blob string
		write                    bool
		refusal                  string
	}{
		"run reads its account":        {run, account, "code-1", "train.py", false, ""},
		"run reads another account":    {run, "fl000000000000", "azureml", "x", false, "reads account " + account + " only"},
		"run writes its log":           {run, account, "azureml", "ExperimentRun/dcid.run1/user_logs/std_log.txt", true, ""},
		"run writes a sibling's":       {run, account, "azureml", "ExperimentRun/dcid.run10/x", true, "writes only below"},
		"run writes another container": {run, account, "code-1", "ExperimentRun/dcid.run1/x", true, "writes only below"},
		"run writes its output":        {run, account, "azureml-blobstore-1", "azureml/run1/model/m.pkl", true, ""},
		"run writes an output file":    {run, account, "azureml-blobstore-1", "azureml/run1/model", true, ""},
		"run writes undeclared":        {run, account, "azureml-blobstore-1", "azureml/run1/other", true, "writes only below"},
		"run writes a whole container": {run, account, "whole-container", "x", true, "writes only below"},
		"run that is gone":             {resource.Principal{Kind: "Run", Scope: ws + "/jobs/run2"}, account, "azureml", "x", false, "does not exist any more"},
		"agent":                        {resource.Principal{Kind: "Agent", Scope: "/c"}, account, "azureml", "x", false, "does not reach blobs"},
		"reader reads":                 {user("read"), account, "azureml", "x", false, ""},
		"reader writes":                {user("read"), account, "azureml", "x", true, "no role"},
		"writer writes":                {user("both"), account, "azureml", "x", true, ""},
		"no such account":              {user("both"), "fl000000000000", "azureml", "x", true, "no workspace has"},
	} {
		t.Run(name, func(t *testing.T) {
			err := a.Authorize(ctx, c.p, c.account, c.container, c.blob, c.write)
			switch {
			case c.refusal == "" && err != nil:
				t.Error(err)
			case c.refusal != "" && (err == nil || !strings.Contains(err.Error(), c.refusal)):
				t.Errorf("err %v, want %q", err, c.refusal)
			}
		})
	}
}
