package types

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/api/messaging"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
)

// The two namespaces that every extension has in its resource group. They stand for its channel to the control plane, which is the
// link: Relay for the tunnel into the cluster, Service Bus for what the cluster is told and answers. They carry nothing themselves.
const (
	nsRelay      = "Microsoft.Relay"
	nsServiceBus = "Microsoft.ServiceBus"
)

// Names in them that the reference's clients know.
const (
	rootRule         = "RootManageSharedAccessKey"
	connectionRule   = "azureml_rw"
	topicCompute     = "computestate-updatedby-computeprovider"
	topicJobs        = "jobstate-updatedby-computeprovider"
	subCompute       = "compute-scheduler-computestate"
	subJobs          = "compute-scheduler-jobstate"
	createdBy        = "created_by"
	createdByAzureML = "Azure Arc-enabled ML"
)

// channelKind is one of the types of the two trees.
type channelKind struct {
	namespace, name string
	// settings are the properties of one that was told nothing; sample has their types.
	settings map[string]any
	sample   func() any
}

var allRights = []string{messaging.Manage, messaging.Send, messaging.Listen}

func channelKinds() []channelKind {
	rule := func(ns, name string) channelKind {
		return channelKind{ns, name, map[string]any{"rights": allRights}, func() any { return &messaging.RuleProperties{} }}
	}
	namespace := func(ns string) channelKind {
		return channelKind{ns, "namespaces", nil, func() any { return &messaging.NamespaceProperties{} }}
	}
	return []channelKind{
		namespace(nsRelay), rule(nsRelay, "namespaces/authorizationRules"),
		{nsRelay, "namespaces/hybridConnections", map[string]any{"requiresClientAuthorization": true}, func() any { return &messaging.HybridConnectionProperties{} }},
		rule(nsRelay, "namespaces/hybridConnections/authorizationRules"),
		namespace(nsServiceBus), rule(nsServiceBus, "namespaces/authorizationRules"),
		{nsServiceBus, "namespaces/topics", map[string]any{"defaultMessageTimeToLive": "P60D", "maxSizeInMegabytes": 5120, "enableBatchedOperations": true, "status": "Active"},
			func() any { return &messaging.TopicSettings{} }},
		{nsServiceBus, "namespaces/topics/subscriptions", map[string]any{"defaultMessageTimeToLive": "P14D", "lockDuration": "PT30S", "maxDeliveryCount": 1, "enableBatchedOperations": true, "status": "Active"},
			func() any { return &messaging.SubscriptionSettings{} }},
	}
}

func (k channelKind) fullType() string { return strings.ToLower(k.namespace + "/" + k.name) }

func (k channelKind) root() bool { return k.name == "namespaces" }

// channel is the types of both trees.
func channel(d Deps) []*resource.Type {
	var out []*resource.Type
	for _, k := range channelKinds() {
		t := &resource.Type{
			Namespace: k.namespace, Name: k.name, NoProvisioningState: !k.root(),
			APIVersions: []string{"2021-11-01", "2021-06-01-preview", "2018-01-01-preview", "2017-04-01"},
			NameRule:    regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,258}[A-Za-z0-9])?$`),
			NameHelp:    "1 to 260 letters, digits, '.', '-' and '_', beginning and ending with a letter or digit",
			Admit:       func(ctx context.Context, p *resource.Put) error { return admitChannel(ctx, d, k, p) },
			Remove:      removeChannelPart,
			Show:        d.showChannel,
		}
		if k.root() {
			t.NameRule = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]{4,48}[A-Za-z0-9]$`)
			t.NameHelp = "6 to 50 letters, digits and hyphens, beginning and ending with a letter or digit"
		}
		if strings.HasSuffix(k.name, "authorizationRules") {
			t.Actions = map[string]resource.Action{"listkeys": {Permission: "secret", Run: d.channelKeys}}
		}
		out = append(out, t)
	}
	return out
}

// channelReadOnly are computed when shown.
var channelReadOnly = []string{"createdAt", "updatedAt", "accessedAt", "listenerCount", "messageCount", "countDetails", "sizeInBytes",
	"subscriptionCount", "serviceBusEndpoint", "metricId"}

func admitChannel(ctx context.Context, d Deps, k channelKind, p *resource.Put) error {
	props, err := object(p.Body, "properties")
	if err != nil {
		return err
	}
	restore(props, nil, channelReadOnly...)
	if err := decode(props, k.sample()); err != nil {
		return err
	}
	for name, v := range k.settings {
		if props[name] == nil {
			props[name] = v
		}
	}
	if err := checkRights(props); err != nil {
		return err
	}
	if k.root() {
		delete(props, "status")
		if err := admitNamespace(ctx, p); err != nil {
			return err
		}
		if p.Old == nil {
			return putRootRule(ctx, d, p.Tx, p.ID, p.Record.CreatedBy)
		}
	}
	if p.Old == nil || sameBody(p.Body, p.Old.Body) {
		return nil // clients make sure of what is there by a PUT
	}
	return refuseHeld(ctx, p.Tx, p.ID, "changed")
}

func checkRights(props map[string]any) error {
	rights, ok := props["rights"].([]any)
	if !ok {
		return nil
	}
	for i, r := range rights {
		name, _ := r.(string)
		word, err := enum("properties.rights", name, allRights...)
		if err != nil {
			return err
		}
		rights[i] = word
	}
	return nil
}

func admitNamespace(ctx context.Context, p *resource.Put) error {
	sku, err := object(p.Body, "sku")
	if err != nil {
		return err
	}
	name, _ := sku["name"].(string)
	if name == "" {
		name = "Standard"
	}
	if name, err = enum("sku.name", name, "Standard", "Basic", "Premium"); err != nil {
		return err
	}
	sku["name"], sku["tier"] = name, name
	return location(ctx, p)
}

// sameBody compares a body to be written with one that is stored, but for its provisioningState.
func sameBody(body map[string]any, stored json.RawMessage) bool {
	raw, err := json.Marshal(body)
	if err != nil {
		return false
	}
	var now, was map[string]any
	if json.Unmarshal(raw, &now) != nil || json.Unmarshal(stored, &was) != nil {
		return false
	}
	for _, m := range []map[string]any{now, was} {
		if props, ok := m["properties"].(map[string]any); ok {
			delete(props, "provisioningState")
		}
		maps.DeleteFunc(m, func(_ string, v any) bool { return v == nil || reflect.DeepEqual(v, map[string]any{}) })
	}
	return reflect.DeepEqual(now, was)
}

// channelState is the Internal of a namespace that is an extension's.
type channelState struct {
	// Extension is the Key of the extension; "" for a namespace that is nobody's.
	Extension string `json:"extension,omitempty"`
	// Connection is the name of the hybrid connection that stands for its tunnel.
	Connection string `json:"connection,omitempty"`
}

func stateOfChannel(rec store.Record) (channelState, error) {
	var st channelState
	if len(rec.Internal) == 0 {
		return st, nil
	}
	if err := json.Unmarshal(rec.Internal, &st); err != nil {
		return st, fmt.Errorf("decoding state of %s: %w", rec.Key, err)
	}
	return st, nil
}

// holder reads what a namespace, or the one that a part is in, stands for.
func holder(ctx context.Context, r store.Reader, id arm.ID) (channelState, error) {
	rec, err := r.Get(ctx, topLevel(id).Key())
	if err != nil {
		return channelState{}, ignoreNotFound(err)
	}
	return stateOfChannel(rec)
}

// refuseHeld answers 409 while a compute uses the cluster whose extension's channel this is.
func refuseHeld(ctx context.Context, r store.Reader, id arm.ID, verb string) error {
	st, err := holder(ctx, r, id)
	if err != nil || st.Extension == "" {
		return err
	}
	ext := arm.MustParseID(st.Extension)
	cluster, _ := ext.Parent()
	users, err := usersOf(ctx, r, cluster.Key())
	if err != nil || len(users) == 0 {
		return err
	}
	return arm.Errorf(409, "ResourceInUse", "%s %s belongs to extension %s of cluster %s, which is used by %s; it cannot be %s before that is detached. It goes with the extension.",
		id.Type(), id.Name(), ext.Name(), cluster.Name(), strings.Join(users, ", "), verb)
}

// removeChannelPart refuses in a forced removal too: only the extension's own lets the channel go while it is in use.
func removeChannelPart(ctx context.Context, r *resource.Removal) (bool, error) {
	return false, refuseHeld(ctx, r.Tx, r.ID, "deleted")
}

// unusedKey is what listKeys gives: clients want one, and nothing here takes one.
var unusedKey = base64.StdEncoding.EncodeToString([]byte("the link of this control plane takes no shared keys"))

// channelKeys answers listKeys in the reference's form.
func (d Deps) channelKeys(_ context.Context, a *resource.Call) (any, error) {
	text := fmt.Sprintf("Endpoint=sb://%s/;SharedAccessKeyName=%s;SharedAccessKey=%s", d.host(), a.Record.Name, unusedKey)
	if parent, _ := a.ID.Parent(); slices.Contains([]string{"hybridConnections", "topics"}, parent.Segments[0].Types[len(parent.Segments[0].Types)-1]) {
		text += ";EntityPath=" + parent.Name()
	}
	return messaging.Keys{PrimaryConnectionString: text, SecondaryConnectionString: text, PrimaryKey: unusedKey, SecondaryKey: unusedKey, KeyName: a.Record.Name}, nil
}
