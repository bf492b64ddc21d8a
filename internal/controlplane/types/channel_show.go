package types

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/api/messaging"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/link"
)

// showChannel computes the counters at this moment.
func (d Deps) showChannel(ctx context.Context, r store.Reader, rec store.Record, body map[string]any) error {
	props, err := object(body, "properties")
	if err != nil {
		return err
	}
	props["createdAt"], props["updatedAt"] = arm.FormatTime(rec.CreatedAt), arm.FormatTime(rec.UpdatedAt)
	id := arm.MustParseID(rec.ID)
	last := id.Segments[0].Types[len(id.Segments[0].Types)-1]
	if strings.EqualFold(last, "authorizationRules") {
		delete(props, "createdAt")
		delete(props, "updatedAt")
		return nil
	}
	if strings.EqualFold(last, "namespaces") {
		props["status"], props["serviceBusEndpoint"] = "Active", d.PublicURL+"/"
		props["metricId"] = id.Subscription + ":" + strings.ToLower(rec.Name)
		return nil
	}
	st, err := holder(ctx, r, id)
	if err != nil {
		return err
	}
	switch strings.ToLower(last) {
	case "hybridconnections":
		props["listenerCount"] = d.listeners(st, rec.Name)
		return nil
	case "topics":
		w, err := d.waitingOf(ctx, r, st, rec.Name)
		if err != nil {
			return err
		}
		subs, err := r.List(ctx, store.Query{Type: strings.ToLower(nsServiceBus + "/namespaces/topics/subscriptions"), Parent: rec.Key, Limit: 1000})
		if err != nil {
			return fmt.Errorf("listing subscriptions of %s: %w", rec.Name, err)
		}
		props["accessedAt"] = props["updatedAt"]
		return overlay(props, messaging.TopicCounters{SubscriptionCount: len(subs), SizeInBytes: w.bytes, CountDetails: messaging.CountDetails{ActiveMessageCount: w.count}})
	}
	topic, _ := id.Parent()
	w, err := d.waitingOf(ctx, r, st, topic.Name())
	if err != nil {
		return err
	}
	props["accessedAt"] = props["updatedAt"]
	return overlay(props, messaging.SubscriptionCounters{MessageCount: w.count, CountDetails: messaging.CountDetails{ActiveMessageCount: w.count}})
}

// listeners is how many relays of the cluster are connected, for the connection that stands for them.
func (d Deps) listeners(st channelState, connection string) int {
	if st.Extension == "" || d.Relays == nil || !strings.EqualFold(connection, st.Connection) {
		return 0
	}
	cluster, _ := arm.MustParseID(st.Extension).Parent()
	return d.Relays(cluster.Key())
}

// waiting is what a cluster was told and has not answered yet.
type waiting struct{ count, bytes int }

// topicPrefixes are the keys of the maps that a topic stands for.
var topicPrefixes = map[string][]string{
	topicJobs:    {link.PrefixJob},
	topicCompute: {link.PrefixExtension, link.PrefixEndpoint, link.PrefixDeployment},
}

// waitingOf counts what a topic stands for: jobs, endpoints and deployments that the cluster has not spoken of, and extensions in a
// newer form than it has spoken of.
func (d Deps) waitingOf(ctx context.Context, r store.Reader, st channelState, topic string) (waiting, error) {
	var w waiting
	if st.Extension == "" {
		return w, nil
	}
	cluster, _ := arm.MustParseID(st.Extension).Parent()
	var entries, answers []store.Entry
	for _, prefix := range topicPrefixes[strings.ToLower(topic)] {
		told, err1 := r.Desired(ctx, cluster.Key(), prefix, 0)
		said, err2 := r.ObservedPrefix(ctx, cluster.Key(), prefix)
		if err := errors.Join(err1, err2); err != nil {
			return w, fmt.Errorf("reading what cluster %s is told and answered: %w", cluster.Name(), err)
		}
		entries, answers = append(entries, told...), append(answers, said...)
	}
	said := make(map[string]json.RawMessage, len(answers))
	for _, a := range answers {
		said[a.Key] = a.Value
	}
	for _, e := range entries {
		if e.Deleted || d.answered(cluster.Key(), e, said[e.Key]) {
			continue
		}
		w.count, w.bytes = w.count+1, w.bytes+len(e.Value)
	}
	return w, nil
}

// answered reports whether an observed value speaks of the desired one.
func (d Deps) answered(cluster string, e store.Entry, said json.RawMessage) bool {
	if said == nil || !strings.HasPrefix(e.Key, link.PrefixExtension) {
		return said != nil // only extensions have generations
	}
	told, err := d.Desired.Open(cluster, e)
	if err != nil {
		return false // the cluster cannot be told it either
	}
	var now, then struct {
		Generation int64 `json:"generation"`
	}
	return json.Unmarshal(told, &now) == nil && json.Unmarshal(said, &then) == nil && then.Generation >= now.Generation
}
