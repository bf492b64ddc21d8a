package types_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/types"
	"fairlead.dev/fairlead/internal/controlplane/types/typestest"
)

// TestComputeNeedsItsClustersOwner: what a compute makes use of needs a right of its own, and a refusal does not tell what there is.
func TestComputeNeedsItsClustersOwner(t *testing.T) {
	e := typestest.New(t)
	e.Ready()
	uai := typestest.Group + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/train"
	e.Put(uai, `{"location":"lab"}`)
	var asked, may []string
	use := func(authorize func(context.Context, resource.Principal, string, string) error) {
		d := e.Deps
		d.Authorize = authorize
		e.Engine.Registry = resource.NewRegistry(types.All(d)...)
	}
	check := func(_ context.Context, p resource.Principal, action, scope string) error {
		asked = append(asked, action+" "+scope)
		if p.ID == "u" && slices.Contains(may, scope) {
			return nil
		}
		return arm.Errorf(http.StatusForbidden, "AuthorizationFailed", "no")
	}
	use(check)
	attach := func(cluster, identity string) error {
		return e.TryPut(typestest.Workspace+"/computes/other", `{"identity":{"type":"UserAssigned","userAssignedIdentities":{"`+identity+`":{}}},"properties":{"computeType":"Kubernetes","resourceId":"`+cluster+`"}}`)
	}
	cluster := strings.ToLower(typestest.Cluster)
	gone := typestest.Cluster + "2"
	there, absent := attach(typestest.Cluster, uai), attach(gone, uai)
	for _, err := range []error{there, absent} {
		if ae, ok := errors.AsType[*arm.Error](err); !ok || ae.Status != 403 || ae.Code != "LinkedAuthorizationFailed" {
			t.Fatalf("attached without a right on the cluster: %v", err)
		}
	}
	if strings.ReplaceAll(absent.Error(), gone, typestest.Cluster) != there.Error() {
		t.Errorf("the refusal tells which clusters there are:\n%v\n%v", there, absent)
	}
	if err := e.TryPatch(typestest.Compute, `{"tags":{"a":"b"}}`); err == nil {
		t.Error("changed an attached compute without a right on its cluster")
	}
	may = []string{cluster}
	if err := attach(typestest.Cluster, uai); err == nil || !strings.Contains(err.Error(), "userAssignedIdentities/assign/action") {
		t.Errorf("took an identity without a right on it: %v", err)
	}
	may = append(may, strings.ToLower(uai))
	asked = nil
	if err := attach(typestest.Cluster, uai); err != nil {
		t.Error(err)
	}
	want := []string{"Microsoft.Kubernetes/connectedClusters/write " + cluster, "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action " + strings.ToLower(uai)}
	if !slices.Equal(asked, want) {
		t.Errorf("asked %q, want %q", asked, want)
	}
	broken := errors.New("store is away")
	use(func(context.Context, resource.Principal, string, string) error { return broken })
	if err := attach(typestest.Cluster, uai); !errors.Is(err, broken) {
		t.Errorf("when the check fails: %v", err)
	}
	use(nil)
	if err := attach(typestest.Cluster, uai); err == nil {
		t.Error("no check at all allows all")
	}
}
