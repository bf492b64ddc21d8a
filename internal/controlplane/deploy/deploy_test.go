package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/engine"
	"fairlead.dev/fairlead/internal/controlplane/operation"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/template"
	"fairlead.dev/fairlead/internal/controlplane/types"
	"fairlead.dev/fairlead/internal/controlplane/types/typestest"
)

var update = flag.Bool("update", false, "write golden files")

const id = typestest.Group + "/providers/Microsoft.Resources/deployments/first"

// lab is a control plane with deployments. Refused are actions that nobody may do.
type lab struct {
	*typestest.Env
	d       *Deployer
	refused map[string]bool
}

func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{Env: typestest.New(t), refused: map[string]bool{}}
	l.d = New(Config{Store: l.Store, Clock: l.Now, Seal: l.Deps.Seal, Open: l.Deps.Open, PublicURL: "https://fl.test", StorageSuffix: "fl.test", TenantID: "T",
		NewID: func() string { return "11111111-1111-1111-1111-111111111111" },
		Authorize: func(_ context.Context, p resource.Principal, action, scope string) error {
			if l.refused[action] {
				return arm.Errorf(http.StatusForbidden, "AuthorizationFailed", "%s may not %s on %s", p.Name, action, scope)
			}
			return nil
		}})
	l.Engine = &engine.Engine{Store: l.Store, Registry: resource.NewRegistry(append(types.All(l.Deps), l.d.Type())...), Now: l.Now}
	l.d.Engine = l.Engine
	l.Base()
	return l
}

// body is a deployment's PUT.
func body(parts, parameters string) string {
	if parameters == "" {
		parameters = "{}"
	}
	return `{"properties":{"mode":"incremental","parameters":` + parameters + `,"template":{"$schema":"https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#","contentVersion":"1.0.0.0",` + parts + `}}}`
}

// drive takes rounds until nothing changes, with all deployments; operations of other types are not ended.
func (l *lab) drive() {
	l.T.Helper()
	for range 50 {
		before, err := l.Store.LastChange(l.Ctx)
		if err != nil {
			l.T.Fatal(err)
		}
		keys, err := l.d.All(l.Ctx)
		if err != nil {
			l.T.Fatal(err)
		}
		for _, key := range keys {
			l.Step(l.d, key)
		}
		if after, _ := l.Store.LastChange(l.Ctx); after == before {
			return
		}
	}
	l.T.Fatal("the deployments do not come to rest")
}

// finish ends the operation on a resource.
func (l *lab) finish(id, state string, cause error) {
	l.T.Helper()
	rec := l.Record(id)
	if err := l.Store.Update(l.Ctx, func(tx store.Tx) error {
		_, err := operation.FinishAt(l.Ctx, tx, rec, "", state, cause, l.Now())
		return err
	}); err != nil {
		l.T.Fatal(err)
	}
}

// states are the steps of a deployment, by the name of the resource.
func (l *lab) states(id string) map[string]string {
	l.T.Helper()
	out := map[string]string{}
	list, err := operations(l.Ctx, l.Store, l.Record(id))
	if err != nil {
		l.T.Fatal(err)
	}
	for _, v := range list {
		props := v.Body.(map[string]any)["properties"].(map[string]any)
		out[props["targetResource"].(map[string]any)["resourceName"].(string)] = props["provisioningState"].(string)
	}
	return out
}

func golden(t *testing.T, name string, v any) {
	t.Helper()
	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("testdata", name+".json")
	if *update {
		if err := os.WriteFile(file, append(raw, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(raw)+"\n"); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// workspaceTemplate makes a workspace as clients of the reference do: with resources around it that are not needed here.
const workspaceTemplate = `"parameters":{"workspaceName":{"type":"string"},"key":{"type":"securestring","defaultValue":"hush"},"insights":{"type":"string","defaultValue":"new"}},
	"variables":{"vault":"[resourceId('Microsoft.KeyVault/vaults', concat(parameters('workspaceName'), 'kv'))]"},
	"resources":[
	 {"type":"Microsoft.KeyVault/vaults","apiVersion":"2023-07-01","name":"[concat(parameters('workspaceName'),'kv')]","location":"lab","properties":{"secret":"[parameters('key')]"}},
	 {"type":"Microsoft.Insights/components","condition":"[equals(parameters('insights'),'old')]","apiVersion":"2020-02-02","name":"unmade","location":"lab"},
	 {"type":"Microsoft.MachineLearningServices/workspaces","apiVersion":"2023-08-01-preview","name":"[parameters('workspaceName')]","location":"[resourceGroup().location]","tags":{"by":"template"},
	  "dependsOn":["[variables('vault')]","[resourceId('Microsoft.Insights/components','unmade')]"],"identity":{"type":"SystemAssigned"},"properties":{"keyVault":"[variables('vault')]","friendlyName":"Lab"},
	  "resources":[{"type":"datastores","name":"more","dependsOn":["[parameters('workspaceName')]"],"properties":{"datastoreType":"AzureBlob","accountName":"[last(split(reference(parameters('workspaceName')).storageAccount,'/'))]","containerName":"con-1","credentials":{"credentialsType":"None"}}}]}],
	"outputs":{"discovery":{"type":"string","value":"[reference(resourceId('Microsoft.MachineLearningServices/workspaces', parameters('workspaceName'))).discoveryUrl]"}}`

func TestWorkspaceByTemplate(t *testing.T) {
	l := newLab(t)
	l.Put(id, body(workspaceTemplate, `{"workspaceName":{"value":"made"}}`))
	if got := l.Prop(id, "provisioningState"); got != StateRunning {
		t.Fatalf("begins as %v", got)
	}
	l.Advance(1500 * time.Millisecond)
	l.drive()
	golden(t, "deployment", l.Show(id))
	ops, err := operations(l.Ctx, l.Store, l.Record(id))
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "operations", ops)
	ws := typestest.Group + "/providers/Microsoft.MachineLearningServices/workspaces/made"
	if got := l.Prop(ws, "keyVault"); got != nil {
		t.Errorf("the workspace says that it has key vault %v", got)
	}
	if got := l.Prop(ws+"/datastores/more", "containerName"); got != "con-1" {
		t.Errorf("container %v", got)
	}
	rec := l.Record(id)
	kept, err := l.d.open(rec)
	if err != nil || kept.Parameters != nil {
		t.Errorf("parameters are kept after the end: %v, %v", kept.Parameters, err)
	}
	for name, raw := range map[string][]byte{"Body": rec.Body, "Internal": rec.Internal, "Secret": rec.Secret} {
		if name == "Secret" && strings.Contains(string(raw), "$schema") || name != "Secret" && strings.Contains(string(raw), "hush") {
			t.Errorf("%s is readable: %s", name, raw)
		}
	}
}

func TestRefusedBeforeAnythingIsMade(t *testing.T) {
	ws := `{"type":"Microsoft.MachineLearningServices/workspaces","name":"w12"}`
	for name, c := range map[string]struct{ body, refuse, code, want string }{
		"template":    {body(`"resources":[{"type":"N/a","name":"[x()]"}]`, ""), "", "InvalidTemplate", "there is no function 'x'"},
		"type":        {body(`"resources":[`+ws+`,{"type":"Microsoft.Compute/virtualMachines","name":"v"}]`, ""), "", "InvalidTemplate", "The resource namespace 'Microsoft.Compute' is invalid"},
		"place":       {body(`"resources":[{"type":"Microsoft.Resources/resourceGroups","name":"g"}]`, ""), "", "InvalidTemplate", "no place for a subscription or a resource group"},
		"rights":      {body(`"resources":[`+ws+`]`, ""), "Microsoft.MachineLearningServices/workspaces/write", "AuthorizationFailed", "ada may not"},
		"mode":        {strings.Replace(body(`"resources":[]`, ""), "incremental", "Complete", 1), "", "InvalidRequestContent", "properties.mode is 'Complete'; only Incremental is supported"},
		"link":        {`{"properties":{"mode":"Incremental","templateLink":{"uri":"http://169.254.169.254/"}}}`, "", "InvalidRequestContent", "templates are not fetched"},
		"no template": {`{"properties":{"mode":"Incremental"}}`, "", "InvalidRequestContent", "properties.template is missing"},
		"nothing":     {`{}`, "", "InvalidRequestContent", "properties is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			l.refused[c.refuse] = true
			err := l.TryPut(id, c.body)
			if ae, ok := errors.AsType[*arm.Error](err); !ok || ae.Code != c.code || !strings.Contains(ae.Message, c.want) {
				t.Errorf("got %v, want %s: %s", err, c.code, c.want)
			}
			if _, err := l.Store.Get(l.Ctx, strings.ToLower(id)); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("the deployment is there: %v", err)
			}
		})
	}
}

// computeTemplate makes a compute, which a reconciler ends, and an identity behind it.
const computeTemplate = `"parameters":{"word":{"type":"secureString"}},"resources":[
	{"type":"Microsoft.MachineLearningServices/workspaces/computes","name":"lab/more","properties":{"computeType":"Kubernetes","description":"[parameters('word')]","resourceId":"` + typestest.Cluster + `","properties":{"namespace":"train"}}},
	{"type":"Microsoft.ManagedIdentity/userAssignedIdentities","name":"behind","location":"lab","dependsOn":["lab/more"]},
	{"type":"Microsoft.ManagedIdentity/userAssignedIdentities","name":"beside","location":"lab"}]`

const (
	word    = `{"word":{"value":"hush"}}`
	compute = typestest.Workspace + "/computes/more"
)

func TestOperationsAreWaitedFor(t *testing.T) {
	for name, c := range map[string]struct {
		state string
		cause error
		want  map[string]string
		ends  string
	}{
		"it succeeds": {arm.StateSucceeded, nil, map[string]string{"lab/more": "Succeeded", "beside": "Succeeded", "behind": "Succeeded"}, "Succeeded"},
		"it fails":    {arm.StateFailed, arm.Errorf(409, "NoAgent", "it does not connect"), map[string]string{"lab/more": "Failed", "beside": "Succeeded"}, "Failed"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			l.Ready()
			l.Put(id, body(computeTemplate, word))
			l.drive()
			if diff := cmp.Diff(map[string]string{"lab/more": "Running", "beside": "Succeeded"}, l.states(id)); diff != "" {
				t.Fatalf("while the compute is made (-want +got):\n%s", diff)
			}
			l.finish(compute, c.state, c.cause)
			l.drive()
			if diff := cmp.Diff(c.want, l.states(id)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if got := l.Prop(id, "provisioningState"); got != c.ends {
				t.Errorf("it ended as %v", got)
			}
			if c.cause != nil {
				golden(t, "failed", l.Prop(id, "error"))
			}
		})
	}
}

func TestRightsAreThoseOfTheMoment(t *testing.T) {
	l := newLab(t)
	l.Ready()
	l.Put(id, body(computeTemplate, word))
	l.drive()
	l.refused["Microsoft.ManagedIdentity/userAssignedIdentities/write"] = true // the role is taken away
	l.finish(compute, arm.StateSucceeded, nil)
	l.drive()
	if got := l.states(id)["behind"]; got != arm.StateFailed || l.Prop(id, "provisioningState") != arm.StateFailed {
		t.Errorf("the step is %s", got)
	}
	l.refused = map[string]bool{"Microsoft.MachineLearningServices/workspaces/read": true}
	l.Put(id, body(workspaceTemplate, `{"workspaceName":{"value":"made"}}`))
	l.drive()
	if got := l.states(id); got["made"] != "Succeeded" || got["made/more"] != "Failed" {
		t.Errorf("reference without the right to read: %v", got)
	}
}

func TestDeploymentInADeployment(t *testing.T) {
	l := newLab(t)
	nested := `{"type":"Microsoft.Resources/deployments","apiVersion":"2020-06-01","name":"inner","properties":{"mode":"Incremental","expressionEvaluationOptions":{"scope":"%s"},"parameters":{"n":{"value":"[concat('id','one')]"}},
		"template":{"$schema":"https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#","contentVersion":"1.0.0.0","parameters":{"n":{"type":"string"}},"resources":[{"type":"Microsoft.ManagedIdentity/userAssignedIdentities","name":"[parameters('n')]"}],
		"outputs":{"id":{"type":"string","value":"[resourceId('Microsoft.ManagedIdentity/userAssignedIdentities', parameters('n'))]"}}}}}`
	l.Put(id, body(`"resources":[`+strings.Replace(nested, "%s", "Inner", 1)+`],"outputs":{"of":{"type":"string","value":"[reference('inner').outputs.id.value]"}}`, ""))
	l.drive()
	if got := l.Prop(id, "outputs", "of", "value"); got != typestest.Group+"/providers/Microsoft.ManagedIdentity/userAssignedIdentities/idone" {
		t.Errorf("output %v of %v", got, l.Show(id))
	}
	if got := l.Prop(typestest.Group+"/providers/Microsoft.Resources/deployments/inner", "provisioningState"); got != arm.StateSucceeded {
		t.Errorf("the inner one is %v", got)
	}
}

func TestCancel(t *testing.T) {
	l := newLab(t)
	l.Ready()
	l.Put(id, body(computeTemplate, word))
	l.drive()
	if err := l.TryPut(id, body(computeTemplate, word)); err == nil || !strings.Contains(err.Error(), "DeploymentActive") {
		t.Errorf("a second PUT while it runs: %v", err)
	}
	if err := l.TryDelete(id, false); err == nil || !strings.Contains(err.Error(), "DeploymentActive") {
		t.Errorf("a DELETE while it runs: %v", err)
	}
	if _, err := l.Call(id, "cancel", ""); err != nil {
		t.Fatal(err)
	}
	l.finish(compute, arm.StateSucceeded, nil)
	l.drive()
	if diff := cmp.Diff(map[string]string{"lab/more": "Canceled", "beside": "Succeeded"}, l.states(id)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := l.Call(id, "cancel", ""); err == nil || !strings.Contains(err.Error(), "not running") {
		t.Errorf("cancelled twice: %v", err)
	}
	if err := l.TryDelete(id, false); err != nil {
		t.Error(err)
	}
	l.drive()
	if _, err := l.Store.Get(l.Ctx, strings.ToLower(id)); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("it is still there: %v", err)
	}
}

func TestClaimOfAServerThatStopped(t *testing.T) {
	l := newLab(t)
	l.Put(id, body(`"resources":[{"type":"Microsoft.ManagedIdentity/userAssignedIdentities","name":"one"}]`, ""))
	rec := l.Record(id)
	st, err := decodeState(rec)
	if err != nil {
		t.Fatal(err)
	}
	st.Claimed = l.Now().Add(claim)
	if err := (&round{d: l.d, rec: rec, st: st, now: l.Now()}).write(l.Ctx); err != nil {
		t.Fatal(err)
	}
	if res := l.Step(l.d, id); res.RequeueAfter != claim || len(l.states(id)) != 0 {
		t.Errorf("another's claim is not respected: %v, %v", res, l.states(id))
	}
	l.Advance(claim)
	l.drive()
	if got := l.Prop(id, "provisioningState"); got != arm.StateSucceeded {
		t.Errorf("after the claim it is %v", got)
	}
}

func TestValidateAndExport(t *testing.T) {
	l := newLab(t)
	got, err := l.Call(id, "validate", body(workspaceTemplate, `{"workspaceName":{"value":"made"}}`))
	if err != nil {
		t.Fatal(err)
	}
	if props := got.(map[string]any)["properties"].(map[string]any); len(props["validatedResources"].([]any)) != 2 {
		t.Errorf("validated %v", props["validatedResources"])
	}
	if _, err := l.Store.Get(l.Ctx, strings.ToLower(id)); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("validate has made something: %v", err)
	}
	l.Put(id, body(workspaceTemplate, `{"workspaceName":{"value":"made"},"key":{"value":"hidden"}}`))
	got, err = l.Call(id, "exportTemplate", "")
	raw, _ := json.Marshal(got)
	if err != nil || !strings.Contains(string(raw), "workspaceName") || strings.Contains(string(raw), "hidden") {
		t.Errorf("exported %s, %v", raw, err)
	}
}

func TestDecide(t *testing.T) {
	a, b := typestest.Group+"/providers/N.X/a/a", typestest.Group+"/providers/N.X/a/b"
	resources := []*template.Resource{{ID: arm.MustParseID(a)}, {ID: arm.MustParseID(b), After: []string{strings.ToLower(a)}}}
	for name, c := range map[string]struct {
		a, b         string
		begin, watch int
		over, failed bool
	}{
		"nothing yet":          {"", "", 1, 0, false, false},
		"the first runs":       {StateRunning, "", 0, 1, false, false},
		"the first is done":    {arm.StateSucceeded, "", 1, 0, false, false},
		"the first failed":     {arm.StateFailed, "", 0, 0, true, true},
		"the second runs":      {arm.StateSucceeded, StateRunning, 0, 1, false, false},
		"one failed, one runs": {arm.StateFailed, StateRunning, 0, 1, false, true},
		"all done":             {arm.StateSucceeded, arm.StateSucceeded, 0, 0, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			d := decide(resources, []*step{{ID: a, State: c.a}, {ID: b, State: c.b}})
			if len(d.begin) != c.begin || len(d.watch) != c.watch || d.over != c.over || d.failed != c.failed {
				t.Errorf("got %d to begin, %d to watch, over %t, failed %t", len(d.begin), len(d.watch), d.over, d.failed)
			}
		})
	}
}

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "PT0.0000000S", 1500 * time.Millisecond: "PT1.5000000S", 61 * time.Second: "PT1M1.0000000S", -1: "PT0.0000000S"} {
		if got := duration(d); got != want {
			t.Errorf("%s is %s, want %s", d, got, want)
		}
	}
}

// TestWhatPasses: a refusal is tried again only when it ends by itself, whatever its code.
func TestWhatPasses(t *testing.T) {
	because := func(cause error) error {
		e := arm.Errorf(http.StatusConflict, "Conflict", "no")
		e.Cause = cause
		return e
	}
	for name, c := range map[string]struct {
		err  error
		want bool
	}{
		"nothing":            {nil, false},
		"written meanwhile":  {because(store.ErrConflict), true},
		"busy":               {because(resource.ErrBusy), true},
		"of another content": {because(nil), false},
		"too many":           {arm.Errorf(http.StatusTooManyRequests, "TooManyRequests", "no"), true},
		"store away":         {errors.New("away"), true},
		"refused":            {arm.Errorf(http.StatusBadRequest, "BadRequest", "no"), false},
	} {
		if got := passes(c.err); got != c.want {
			t.Errorf("%s: passes is %t", name, got)
		}
	}
}

// TestManyWaitForMany: two loops that wait for each other's resources are told of up to a bound.
func TestManyWaitForMany(t *testing.T) {
	l := newLab(t)
	got, err := l.Call(id, "validate", body(`"resources":[
		{"type":"Microsoft.ManagedIdentity/userAssignedIdentities","name":"[concat('a', copyIndex())]","location":"lab","copy":{"name":"first","count":200}},
		{"type":"Microsoft.ManagedIdentity/userAssignedIdentities","name":"[concat('b', copyIndex())]","location":"lab","copy":{"name":"second","count":200},"dependsOn":["first"]}]`, ""))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, dep := range got.(map[string]any)["properties"].(map[string]any)["dependencies"].([]any) {
		n += len(dep.(map[string]any)["dependsOn"].([]any))
	}
	if n != maxTargets {
		t.Errorf("%d targets, want %d", n, maxTargets)
	}
}
