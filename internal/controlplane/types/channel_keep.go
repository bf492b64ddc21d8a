package types

import (
	"context"
	"crypto/md5" //nolint:gosec // part of a name that other clients derive in the same way
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/operation"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types/scan"
)

// Settings by which a client that made the namespaces itself says which they are.
const (
	setConnection = "relayserver.hybridConnectionResourceID"
	setServiceBus = "servicebus.resourceID"
)

// keepChannel gives an extension its two namespaces, in the transaction that writes it: those that its settings name, when this
// control plane has them, or else its own, made when absent. It returns their Keys.
func keepChannel(ctx context.Context, d Deps, p *resource.Put, settings map[string]string, before []string) ([]string, error) {
	cluster, _ := p.ID.Parent()
	var kept []string
	for _, c := range []struct{ namespace, setting, suffix string }{{nsRelay, setConnection, "relay"}, {nsServiceBus, setServiceBus, "service-bus"}} {
		id, st := ownChannel(cluster, c.namespace, c.suffix), channelState{Extension: p.ID.Key(), Connection: cluster.Name()}
		named, ok, err := namedChannel(ctx, d, p, c.namespace, c.setting, settings[c.setting])
		if err != nil {
			return nil, err
		}
		if ok {
			id = topLevel(named)
			if c.namespace == nsRelay {
				st.Connection = named.Name()
			}
		} else if err := makeChannel(ctx, d, p, id, cluster); err != nil {
			return nil, err
		}
		if err := takeChannel(ctx, p.Tx, id, st, c.setting); err != nil {
			return nil, err
		}
		kept = append(kept, id.Key())
	}
	for _, key := range before {
		if key != kept[0] && key != kept[1] {
			if err := releaseChannel(ctx, p.Tx, key, p.ID.Key(), d.Clock()); err != nil {
				return nil, err
			}
		}
	}
	return kept, nil
}

// ownChannel is the id of the namespace of an extension that named none, as the reference's client derives it.
func ownChannel(cluster arm.ID, namespace, suffix string) arm.ID {
	name := cluster.Name()
	if strings.EqualFold(cluster.Segments[0].Namespace, nsContainerService) {
		name += "-managed" // a connected cluster of the same name has others
	}
	return arm.ID{Subscription: cluster.Subscription, ResourceGroup: cluster.ResourceGroup, Segments: []arm.Segment{{
		Namespace: namespace, Types: []string{"namespaces"}, Names: []string{derivedName(name + "-" + cluster.Subscription + "-" + cluster.ResourceGroup + "-" + suffix)}}}}
}

// derivedName is a text's letters and digits, cut to 50 characters that end with the beginning of its MD5 sum.
func derivedName(text string) string {
	const most, sum = 50, 6
	name := strings.Map(func(r rune) rune {
		if r < unicode.MaxASCII && (unicode.IsLetter(r) || unicode.IsDigit(r)) {
			return r
		}
		return -1
	}, text)
	if len(name) <= most {
		return name
	}
	h := md5.Sum([]byte(text)) //nolint:gosec // see the import
	return name[:most-sum] + hex.EncodeToString(h[:])[:sum]
}

// namedChannel is the resource that a setting names; false when it names none of this control plane. Whoever names one must
// have the right to write it.
func namedChannel(ctx context.Context, d Deps, p *resource.Put, namespace, setting, value string) (arm.ID, bool, error) {
	id, err := arm.ParseID(value)
	if value == "" || err != nil || len(id.Segments) != 1 || !strings.EqualFold(id.Segments[0].Namespace, namespace) {
		return arm.ID{}, false, nil //nolint:nilerr // the settings of an installation elsewhere mean nothing here
	}
	rec, err := p.Tx.Get(ctx, topLevel(id).Key())
	if errors.Is(err, store.ErrNotFound) {
		return arm.ID{}, false, nil
	}
	if err != nil {
		return arm.ID{}, false, fmt.Errorf("reading what %s names: %w", setting, err)
	}
	if cluster, _ := p.ID.Parent(); rec.ID == ownChannel(cluster, namespace, "relay").String() || rec.ID == ownChannel(cluster, namespace, "service-bus").String() {
		return id, true, nil // it comes with the extension
	}
	return id, true, linked(ctx, d, p, namespace+"/namespaces/write", rec.ID)
}

// takeChannel marks a namespace as an extension's.
func takeChannel(ctx context.Context, tx store.Tx, id arm.ID, st channelState, setting string) error {
	rec, err := tx.Get(ctx, id.Key())
	if err != nil {
		return fmt.Errorf("reading namespace %s: %w", id.Name(), err)
	}
	was, err := stateOfChannel(rec)
	if err != nil || was == st {
		return err
	}
	if was.Extension != "" && was.Extension != st.Extension {
		other := arm.MustParseID(was.Extension)
		cluster, _ := other.Parent()
		return arm.Invalid("properties."+plainSettings+"."+setting, "%s is %q, which belongs to extension %s of cluster %s; name another, or leave the setting out.",
			setting, id, other.Name(), cluster.Name())
	}
	if rec.Internal, err = json.Marshal(st); err != nil {
		return fmt.Errorf("encoding state of %s: %w", rec.Key, err)
	}
	if _, err := tx.Put(ctx, rec); err != nil {
		return fmt.Errorf("writing namespace %s: %w", id.Name(), err)
	}
	return nil
}

// makeChannel makes a namespace with what is in it, unless it is there.
func makeChannel(ctx context.Context, d Deps, p *resource.Put, id, cluster arm.ID) error {
	_, err := p.Tx.Get(ctx, id.Key())
	if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	rec, err := p.Tx.Get(ctx, cluster.Key())
	if err != nil {
		return fmt.Errorf("reading cluster %s: %w", cluster.Name(), err)
	}
	loc := topString(rec, "location")
	if loc == "" {
		loc = defaultLocation
	}
	group := arm.ID{Subscription: id.Subscription, ResourceGroup: id.ResourceGroup}
	b := &channelBuilder{ctx: ctx, tx: p.Tx, now: d.Clock().UTC(), by: p.Record.UpdatedBy}
	b.put(id, group.Key(), map[string]any{"location": loc, "tags": map[string]any{createdBy: createdByAzureML},
		"sku": map[string]any{"name": "Standard", "tier": "Standard"}, "properties": map[string]any{"provisioningState": arm.StateSucceeded}})
	b.child(id, "authorizationRules", rootRule)
	if id.Segments[0].Namespace == nsRelay {
		b.child(b.child(id, "hybridConnections", cluster.Name()), "authorizationRules", connectionRule)
	} else {
		b.child(b.child(id, "topics", topicCompute), "subscriptions", subCompute)
		b.child(b.child(id, "topics", topicJobs), "subscriptions", subJobs)
	}
	return b.err
}

// putRootRule makes the rule that every namespace has.
func putRootRule(ctx context.Context, d Deps, tx store.Tx, namespace arm.ID, by string) error {
	b := &channelBuilder{ctx: ctx, tx: tx, now: d.Clock().UTC(), by: by}
	b.child(namespace, "authorizationRules", rootRule)
	return b.err
}

// channelBuilder writes records; the first error stays.
type channelBuilder struct {
	ctx context.Context
	tx  store.Tx
	now time.Time
	by  string
	err error
}

func (b *channelBuilder) child(parent arm.ID, typ, name string) arm.ID {
	id := parent.Child(typ, name)
	for _, k := range channelKinds() {
		if k.fullType() == strings.ToLower(id.Type()) {
			b.put(id, parent.Key(), map[string]any{"properties": k.settings})
		}
	}
	return id
}

func (b *channelBuilder) put(id arm.ID, parent string, body map[string]any) {
	if b.err != nil {
		return
	}
	raw, err := json.Marshal(body)
	if err == nil {
		_, err = b.tx.Put(b.ctx, store.Record{Key: id.Key(), ID: id.String(), Type: strings.ToLower(id.Type()), Parent: parent, Name: id.Name(), Body: raw,
			CreatedAt: b.now, UpdatedAt: b.now, CreatedBy: b.by, UpdatedBy: b.by})
	}
	if err != nil {
		b.err = fmt.Errorf("making %s: %w", id, err)
	}
}

// releaseChannel ends what a namespace stands for. Those with the reference's tag go with the extension; others stay.
func releaseChannel(ctx context.Context, tx store.Tx, key, extension string, now time.Time) error {
	rec, err := tx.Get(ctx, key)
	if err != nil {
		return ignoreNotFound(err)
	}
	st, err := stateOfChannel(rec)
	if err != nil || st.Extension != extension {
		return err
	}
	var body struct {
		Tags map[string]string `json:"tags"`
	}
	if err := unmarshalBody(rec, &body); err != nil {
		return err
	}
	if body.Tags[createdBy] != createdByAzureML {
		rec.Internal = nil
		_, err := tx.Put(ctx, rec)
		return err
	}
	for _, k := range channelKinds() {
		err := scan.Each(ctx, tx, store.Query{Type: k.fullType(), AnyParent: true, Prefix: key + "/"}, func(in store.Record) (bool, error) {
			return true, operation.FinishDeleteAt(ctx, tx, in, now)
		})
		if err != nil {
			return err
		}
	}
	return operation.FinishDeleteAt(ctx, tx, rec, now)
}

// ReleaseChannel is called in the transaction in which an extension's record goes.
func ReleaseChannel(ctx context.Context, tx store.Tx, extension store.Record, now time.Time) error {
	in, err := extensionInternal(&extension)
	if err != nil {
		return err
	}
	for _, key := range in.Channel {
		if err := releaseChannel(ctx, tx, key, extension.Key, now); err != nil {
			return fmt.Errorf("releasing %s: %w", key, err)
		}
	}
	return nil
}
