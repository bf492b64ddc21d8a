package blobs

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/api/commonruntime"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/store/sqlite"
	accounts "fairlead.dev/fairlead/internal/controlplane/types/account"
	"fairlead.dev/fairlead/internal/controlplane/types/dataaddress"
	"fairlead.dev/fairlead/internal/controlplane/types/runstate"
	"fairlead.dev/fairlead/internal/controlplane/types/serving"
)

func TestAuthorizer(t *testing.T) {
	ctx := t.Context()
	st, err := sqlite.Open(ctx, filepath.Join(t.TempDir(), "fairlead.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	const ws = "/subscriptions/s/resourcegroups/g/providers/microsoft.machinelearningservices/workspaces/w"
	const jobID = "0123456789abcdef0123456789abcdef"
	account := accounts.Name("22222222-0000-0000-0000-000000000001")
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	state := runstate.State{JobID: jobID, Spec: commonruntime.JobSpec{Artifacts: "https://x/blob/" + account + "/azureml/ExperimentRun/dcid.run1",
		Outputs: map[string]commonruntime.Output{"model": {URL: "https://x/blob/" + account + "/azureml-blobstore-1/azureml/run1/model"},
			"whole": {URL: "https://x/blob/" + account + "/whole-container"},
			"lake":  {URL: "https://x/datastores/" + account + "/lake/out/1"},
			// What looks like an address of a blob further down is none.
			"odd": {URL: "https://x/datastores/" + account + "/lake/blob/" + account + "/azureml/ExperimentRun/dcid.other"}},
		Inputs: map[string]commonruntime.Input{"set": {URL: "https://x/datastores/" + account + "/lake/set"}, "pond": {URL: "https://x/datastores/" + account + "/pond"},
			"other": {URL: "https://x/datastores/fl000000000000/lake/set"},
			"blob":  {URL: "https://x/blob/" + account + "/azureml-blobstore-1/change", Write: true}, "far": {URL: "https://x/datastores/" + account + "/lake/change", Write: true}}}}
	ended := state
	ended.RecordedAt = now.Add(-time.Hour)
	err = st.Update(ctx, func(tx store.Tx) error {
		errs := []error{accounts.Keep(ctx, tx, account, ws, now), accounts.Keep(ctx, tx, "fl111111111111", ws, now), accounts.Leave(ctx, tx, "fl111111111111", now)}
		for name, s := range map[string]runstate.State{"run1": state, "ended": ended} {
			internal, err1 := s.Encode()
			key := ws + "/jobs/" + name
			_, err2 := tx.Put(ctx, store.Record{Key: key, ID: key, Type: runstate.JobType, Parent: ws, Name: name, Body: json.RawMessage(`{}`), Internal: internal})
			errs = append(errs, err1, err2)
		}
		const key = ws + "/onlineendpoints/e/deployments/d"
		internal, err1 := serving.Encode(serving.Deployment{ID: "dep"})
		_, err2 := tx.Put(ctx, store.Record{Key: key, ID: key, Type: serving.DeploymentType, Name: "d", Body: json.RawMessage(`{}`), Internal: internal})
		errs = append(errs, err1, err2, accounts.Keep(ctx, tx, "fl222222222222", ws+"2", now))
		return errors.Join(errs...)
	})
	if err != nil {
		t.Fatal(err)
	}
	a := NewAuthorizer(unlisted{st, t}, func(_ context.Context, p resource.Principal, permission, scope string) error {
		if scope != ws || (p.ID != permission && p.ID != "both") {
			return errors.New("no role")
		}
		return nil
	}, func() time.Time { return now })
	token := func(name, id string) resource.Principal {
		return resource.Principal{ID: runstate.PrincipalID(ws+"/jobs/"+name, id), Kind: "Run", Scope: ws + "/jobs/" + name}
	}
	run, endedRun, earlier := token("run1", jobID), token("ended", jobID), token("run1", "fedcba9876543210fedcba9876543210")
	deployment := func(id, name string) resource.Principal {
		return resource.Principal{ID: id, Kind: "Deployment", Scope: ws + "/onlineendpoints/e/deployments/" + name}
	}
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
		"run changes an input":         {run, account, "azureml-blobstore-1", "change/a", true, ""},
		"run writes undeclared":        {run, account, "azureml-blobstore-1", "azureml/run1/other", true, "writes only below"},
		"run writes another run's":     {run, account, "azureml", "ExperimentRun/dcid.other/x", true, "writes only below"},
		"run writes a whole container": {run, account, "whole-container", "x", true, "writes only below"},
		"run that is gone":             {resource.Principal{Kind: "Run", Scope: ws + "/jobs/run2"}, account, "azureml", "x", false, "does not exist any more"},
		"ended run reads":              {endedRun, account, "azureml", "x", false, ""},
		"ended run writes":             {endedRun, account, "azureml", "ExperimentRun/dcid.run1/x", true, "ended at 2026-01-02T02:04:05Z"},
		"earlier run of the name":      {earlier, account, "azureml", "ExperimentRun/dcid.run1/x", true, "of another run"},
		"earlier run reads":            {earlier, account, "azureml", "x", false, "of another run"},
		"account of a deleted one":     {user("both"), "fl111111111111", "azureml", "x", false, "no workspace has"},
		"deployment reads its account": {deployment("dep", "d"), account, "azureml-blobstore-1", "model/m", false, ""},
		"deployment writes":            {deployment("dep", "d"), account, "azureml-blobstore-1", "model/m", true, "reads only"},
		"deployment reads another's":   {deployment("dep", "d"), "fl222222222222", "azureml", "x", false, "its own workspace only"},
		"deployment reads nobody's":    {deployment("dep", "d"), "fl000000000000", "azureml", "x", false, "its own workspace only"},
		"deployment that is gone":      {deployment("dep", "none"), account, "azureml", "x", false, "does not exist any more"},
		"earlier deployment":           {deployment("old", "d"), account, "azureml", "x", false, "of another deployment"},
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
	at := func(datastore, path string) dataaddress.Address {
		return dataaddress.Address{Account: account, Datastore: datastore, Path: path}
	}
	for name, c := range map[string]struct {
		p       resource.Principal
		at      dataaddress.Address
		write   bool
		refusal string
	}{
		"run reads its input":            {run, at("lake", "set/a"), false, ""},
		"run reads an input that is all": {run, at("pond", "a/b"), false, ""},
		"run reads beside its input":     {run, at("lake", "set2"), false, "reads only its declared inputs"},
		"run lists all":                  {run, at("lake", ""), false, "reads only its declared inputs"},
		"run writes its input":           {run, at("lake", "set/a"), true, "writes only to its declared outputs"},
		"run writes its output":          {run, at("lake", "out/1/m"), true, ""},
		"run reads its output":           {run, at("lake", "out/1/m"), false, ""},
		"run changes an input":           {run, at("lake", "change/a"), true, ""},
		"run writes beside its output":   {run, at("lake", "out/10"), true, "writes only to its declared outputs"},
		"run reads another account":      {run, dataaddress.Address{Account: "fl000000000000", Datastore: "lake", Path: "set/a"}, false, "of account " + account + " only"},
		"ended run writes":               {endedRun, at("lake", "out/1/m"), true, "ended at"},
		"ended run reads":                {endedRun, at("lake", "out/1/m"), false, ""},
		"earlier run of the name":        {earlier, at("lake", "set/a"), false, "of another run"},
		"agent":                          {resource.Principal{Kind: "Agent", Scope: "/c"}, at("lake", "set/a"), false, "does not reach blobs"},
		"reader reads":                   {user("read"), at("lake", "x"), false, ""},
		"reader writes":                  {user("read"), at("lake", "x"), true, "no role"},
		"writer writes":                  {user("both"), at("lake", "x"), true, ""},
	} {
		t.Run("datastore: "+name, func(t *testing.T) {
			err := a.AuthorizeDatastore(ctx, c.p, c.at, c.write)
			if (err == nil) != (c.refusal == "") || err != nil && !strings.Contains(err.Error(), c.refusal) {
				t.Errorf("err %v, want %q", err, c.refusal)
			}
		})
	}
}

// unlisted is a store of which nothing may be listed: one lookup must do, also for an account that nobody has.
type unlisted struct {
	store.Reader
	t *testing.T
}

func (u unlisted) List(context.Context, store.Query) ([]store.Record, error) {
	u.t.Error("the authorizer lists")
	return nil, nil
}
