package types_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/api/messaging"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types"
	"fairlead.dev/fairlead/internal/controlplane/types/typestest"
	"fairlead.dev/fairlead/internal/link"
)

// What the extension arcml of cluster edge in group rg has, by the reference's rule for names.
const (
	relayName  = "edge00000000000000000000000000000001rgrelay"
	busName    = "edge00000000000000000000000000000001rgservicebus"
	relayNS    = typestest.Group + "/providers/Microsoft.Relay/namespaces/" + relayName
	connection = relayNS + "/hybridConnections/edge"
	busNS      = typestest.Group + "/providers/Microsoft.ServiceBus/namespaces/" + busName
	jobTopic   = busNS + "/topics/jobstate-updatedby-computeprovider"
	jobSub     = jobTopic + "/subscriptions/compute-scheduler-jobstate"
	extTopic   = busNS + "/topics/computestate-updatedby-computeprovider"
)

// channelParts is all that an extension brings.
var channelParts = []string{relayNS, relayNS + "/authorizationRules/RootManageSharedAccessKey", connection, connection + "/authorizationRules/azureml_rw",
	busNS, busNS + "/authorizationRules/RootManageSharedAccessKey", jobTopic, jobSub, extTopic, extTopic + "/subscriptions/compute-scheduler-computestate"}

// rewire changes what the types were made with.
func rewire(e *typestest.Env, change func(d *types.Deps)) {
	d := e.Deps
	change(&d)
	e.Engine.Registry = resource.NewRegistry(types.All(d)...)
}

func gone(t *testing.T, e *typestest.Env, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if _, err := e.Store.Get(e.Ctx, strings.ToLower(id)); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s is still there (%v)", id, err)
		}
	}
}

func TestChannelGolden(t *testing.T) {
	e := typestest.New(t)
	e.Ready()
	for name, id := range map[string]string{"relaynamespace": relayNS, "hybridconnection": connection, "authorizationrule": connection + "/authorizationRules/azureml_rw",
		"servicebusnamespace": busNS, "topic": jobTopic, "topicsubscription": jobSub} {
		t.Run(name, func(t *testing.T) { golden(t, name, e.Show(id)) })
	}
	got, err := e.Call(connection+"/authorizationRules/azureml_rw", "listKeys", "")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "listchannelkeys", got)
}

// TestChannelGoesWithTheExtension in each of the ways in which an extension goes.
func TestChannelGoesWithTheExtension(t *testing.T) {
	for name, remove := range map[string]func(e *typestest.Env) error{
		"by force":         func(e *typestest.Env) error { return e.TryDelete(typestest.Extension, true) },
		"with its cluster": func(e *typestest.Env) error { return e.TryDelete(typestest.Cluster, true) },
		"never installed": func(e *typestest.Env) error {
			return errors.Join(e.TryDelete(typestest.Compute, true), e.Store.Update(e.Ctx, func(tx store.Tx) error {
				return tx.DeleteObserved(e.Ctx, strings.ToLower(typestest.Cluster), link.KeyCluster)
			}), e.TryDelete(typestest.Extension, false))
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := typestest.New(t)
			e.Ready()
			for _, id := range channelParts {
				e.Record(id)
			}
			if err := remove(e); err != nil {
				t.Fatal(err)
			}
			gone(t, e, channelParts...)
			e.Put(typestest.Cluster, typestest.ClusterBody())
			e.Put(typestest.Extension, typestest.ExtensionBody) // the names can be used again
			e.Record(connection)
		})
	}
}

func TestChannelProtected(t *testing.T) {
	e := typestest.New(t)
	e.Ready()
	const why = "belongs to extension arcml of cluster edge, which is used by compute k8s of workspace lab; it cannot be "
	for _, id := range channelParts {
		refused(t, e.TryDelete(id, false), "", why+"deleted")
		refused(t, e.TryDelete(id, true), "", why+"deleted")
	}
	refused(t, e.TryPatch(relayNS, `{"tags":{"a":"b"}}`), "", why+"changed")
	refused(t, e.TryPut(jobTopic, `{"properties":{"maxSizeInMegabytes":1024}}`), "", why+"changed")
	refused(t, e.TryPut(connection, `{"properties":{"requiresClientAuthorization":false}}`), "", why+"changed")

	// A client of the reference makes sure of them again when it creates the extension anew.
	e.Put(relayNS, `{"location":"lab","tags":{"created_by":"Azure Arc-enabled ML"}}`)
	e.Put(connection, `{"properties":{"requiresClientAuthorization":true}}`)
	e.Put(connection+"/authorizationRules/azureml_rw", `{"properties":{"rights":["Manage","Send","Listen"]}}`)
	e.Put(busNS, `{"location":"lab","sku":{"name":"Standard"},"tags":{"created_by":"Azure Arc-enabled ML"}}`)
	e.Put(jobTopic, `{"properties":{"maxSizeInMegabytes":5120,"defaultMessageTimeToLive":"P60D"}}`)
	e.Put(jobSub, `{"properties":{"maxDeliveryCount":1,"defaultMessageTimeToLive":"P14D","lockDuration":"PT30S"}}`)

	if err := e.TryDelete(typestest.Compute, false); err != nil {
		t.Fatal(err)
	}
	if err := e.TryPatch(relayNS, `{"tags":{"a":"b"}}`); err != nil {
		t.Errorf("no compute is attached: %v", err)
	}
	if err := e.TryDelete(busNS, false); err != nil {
		t.Errorf("no compute is attached: %v", err)
	}
	gone(t, e, jobSub, jobTopic)
	if err := e.TryPatch(typestest.Extension, `{"properties":{"configurationSettings":{"logAnalyticsWS":true}}}`); err != nil {
		t.Fatal(err)
	}
	e.Record(jobSub) // made again with the next change of the extension
}

func TestChannelCounters(t *testing.T) {
	e := typestest.New(t)
	relays := map[string]int{strings.ToLower(typestest.Cluster): 2}
	rewire(e, func(d *types.Deps) { d.Relays = func(cluster string) int { return relays[cluster] } })
	e.Ready()
	count := func(id, field string) any { return e.Prop(id, strings.Split(field, ".")...) }
	expect := func(what string, jobs, extensions float64) {
		t.Helper()
		got := []any{count(jobTopic, "countDetails.activeMessageCount"), count(jobSub, "messageCount"), count(extTopic, "countDetails.activeMessageCount")}
		if d := cmp.Diff([]any{jobs, jobs, extensions}, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", what, d)
		}
		if size, _ := count(jobTopic, "sizeInBytes").(float64); (size > 0) != (jobs > 0) {
			t.Errorf("%s: %v bytes", what, size)
		}
	}
	if got := count(connection, "listenerCount"); got != 2.0 {
		t.Errorf("listenerCount %v", got)
	}
	expect("an extension that the cluster has not spoken of", 0, 1)
	e.Observe("extension/arcml", link.ExtensionStatus{Generation: e.Now().UnixMilli(), State: link.ExtensionInstalled})
	expect("installed", 0, 0)
	if err := e.Store.Update(e.Ctx, func(tx store.Tx) error {
		return errors.Join(e.Deps.Desired.Put(e.Ctx, tx, strings.ToLower(typestest.Cluster), "job/1", []byte(`{"id":"1"}`)),
			e.Deps.Desired.Put(e.Ctx, tx, strings.ToLower(typestest.Cluster), "endpoint/e", []byte(`{"name":"e"}`)))
	}); err != nil {
		t.Fatal(err)
	}
	if err := e.TryPatch(typestest.Extension, `{"properties":{"configurationSettings":{"logAnalyticsWS":true}}}`); err != nil {
		t.Fatal(err)
	}
	expect("a job, an endpoint and a newer extension", 1, 2)
	e.Observe("job/1", link.JobStatus{ID: "1", State: "Queued"})
	e.Observe("endpoint/e", map[string]any{"state": "Succeeded"})
	expect("job and endpoint were taken", 0, 1)
	e.Put(relayNS+"/hybridConnections/other", `{}`)
	if got := count(relayNS+"/hybridConnections/other", "listenerCount"); got != 0.0 {
		t.Errorf("nobody listens at another connection, but listenerCount is %v", got)
	}
	e.Put(busNS+"/topics/other", `{}`)
	if got := count(busNS+"/topics/other", "countDetails.activeMessageCount"); got != 0.0 {
		t.Errorf("another topic has %v messages", got)
	}
}

// TestChannelOfTheClient: namespaces that a client made before it creates the extension are the extension's.
func TestChannelOfTheClient(t *testing.T) {
	e := typestest.New(t)
	e.Base()
	e.Put(typestest.Cluster, typestest.ClusterBody())
	const relay, bus = typestest.Group + "/providers/Microsoft.Relay/namespaces/mine-relay", typestest.Group + "/providers/Microsoft.ServiceBus/namespaces/mine-bus"
	e.Put(relay, `{}`)
	e.Put(relay+"/hybridConnections/tunnel", `{}`)
	e.Put(bus, `{"tags":{"created_by":"Azure Arc-enabled ML"}}`)
	rule, err := e.Call(bus+"/authorizationRules/RootManageSharedAccessKey", "listKeys", "")
	if keys, ok := rule.(messaging.Keys); err != nil || !ok || !strings.HasPrefix(keys.PrimaryConnectionString, "Endpoint=sb://fl.test/;SharedAccessKeyName=RootManageSharedAccessKey;") {
		t.Fatalf("listKeys: %v, %v", rule, err)
	}
	body := func(relay, bus string) string {
		return `{"properties":{"extensionType":"Microsoft.AzureML.Kubernetes","configurationSettings":{"enableTraining":"true","relayserver.hybridConnectionResourceID":"` +
			relay + `/hybridConnections/tunnel","servicebus.resourceID":"` + bus + `"}}}`
	}
	rewire(e, func(d *types.Deps) { d.Relays = func(string) int { return 1 } })
	e.Put(typestest.Extension, body(relay, bus))
	if got := e.Prop(relay+"/hybridConnections/tunnel", "listenerCount"); got != 1.0 {
		t.Errorf("listenerCount %v", got)
	}
	gone(t, e, relayNS, busNS)

	other := typestest.Group + "/providers/Microsoft.Kubernetes/connectedClusters/west"
	e.Put(other, typestest.ClusterBody())
	refused(t, e.TryPut(other+"/providers/Microsoft.KubernetesConfiguration/extensions/arcml", body(relay, bus)),
		"properties.configurationSettings.relayserver.hybridConnectionResourceID", "belongs to extension arcml of cluster edge")

	const elsewhere = "/subscriptions/99999999-0000-0000-0000-000000000001/resourceGroups/x/providers/Microsoft.Relay/namespaces/real"
	e.Put(typestest.Extension, body(elsewhere, bus)) // an id of another installation means nothing here
	e.Record(relayNS)
	if st := string(e.Record(relay).Internal); strings.Contains(st, "arcml") {
		t.Errorf("the namespace is still the extension's: %s", st)
	}
	if err := e.TryDelete(typestest.Extension, true); err != nil {
		t.Fatal(err)
	}
	gone(t, e, relayNS, bus) // tagged as made for the extension
	e.Record(relay)          // a person's own
}

func TestChannelLinked(t *testing.T) {
	e := typestest.New(t)
	e.Base()
	e.Put(typestest.Cluster, typestest.ClusterBody())
	const relay = typestest.Group + "/providers/Microsoft.Relay/namespaces/others"
	e.Put(relay, `{}`)
	rewire(e, func(d *types.Deps) {
		d.Authorize = func(_ context.Context, _ resource.Principal, action, _ string) error {
			return arm.Errorf(http.StatusForbidden, "AuthorizationFailed", "no %s", action)
		}
	})
	refused(t, e.TryPut(typestest.Extension, `{"properties":{"extensionType":"Microsoft.AzureML.Kubernetes","configurationSettings":{"enableTraining":"true","relayserver.hybridConnectionResourceID":"`+relay+`/hybridConnections/x"}}}`),
		"", "does not have permission to perform action(s) 'Microsoft.Relay/namespaces/write'")
}

func TestChannelRefused(t *testing.T) {
	e := typestest.New(t)
	e.Base()
	refused(t, e.TryPut(relayNS, `{"sku":{"name":"Gold"}}`), "sku.name", `"Gold"; it must be one of: Standard`)
	e.Put(relayNS, `{}`)
	refused(t, e.TryPut(connection, `{"properties":{"requiresClientAuthorization":"yes"}}`), "properties.requiresClientAuthorization", "it must be true or false")
	refused(t, e.TryPut(relayNS+"/authorizationRules/x", `{"properties":{"rights":["Own"]}}`), "properties.rights", `"Own"; it must be one of: Manage, Send, Listen`)
	refused(t, e.TryPut(typestest.Group+"/providers/Microsoft.Relay/namespaces/a_b", `{}`), "name", "6 to 50 letters")
}
