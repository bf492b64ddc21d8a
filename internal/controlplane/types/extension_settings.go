package types

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/engine"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types/runstate"
	"fairlead.dev/fairlead/internal/extensionsettings"
	"fairlead.dev/fairlead/internal/link"
)

const (
	plainSettings     = "configurationSettings"
	protectedSettings = "configurationProtectedSettings"
)

// checkSettings refuses what is wrong with an extension's settings.
func checkSettings(s extensionsettings.Settings, o extensionsettings.Options) error {
	return refuse(s.Validate(o))
}

// storedSettings are those that were accepted before, which a release that knows them no longer leaves alone.
func storedSettings(d Deps, rec *store.Record, props map[string]any) (extensionsettings.Options, error) {
	var o extensionsettings.Options
	plain, _ := props[plainSettings].(map[string]any)
	var err error
	if o.Stored.Plain, err = texts(plain, false); err != nil {
		return o, err
	}
	o.Stored.Protected, err = openSettings(d, rec)
	return o, err
}

// texts are settings as they are kept.
func texts(values map[string]any, protected bool) (map[string]string, error) {
	out, problems := extensionsettings.Texts(values, protected)
	return out, refuse(problems)
}

// refuse says the first problem by itself and the others as details.
func refuse(problems extensionsettings.Problems) error {
	if len(problems) == 0 {
		return nil
	}
	refusal := refusalOf(problems[0])
	for _, p := range problems[1:] {
		refusal.Details = append(refusal.Details, *refusalOf(p))
	}
	return refusal
}

func refusalOf(p extensionsettings.Problem) *arm.Error {
	in := plainSettings
	if p.Protected {
		in = protectedSettings
	}
	e := arm.Invalid("properties."+in+"."+p.Key, "%s", p.Error())
	if p.Exclusive {
		e.Code = "MutuallyExclusive"
	}
	return e
}

// refuseStranding refuses to switch off a feature while something uses it: nobody would be left in the cluster to end it.
func refuseStranding(ctx context.Context, p *resource.Put, old, updated map[string]string) error {
	if p.Old == nil {
		return nil
	}
	before, after := extensionsettings.Settings{Plain: old}.Effective(), extensionsettings.Settings{Plain: updated}.Effective()
	cluster, _ := p.ID.Parent()
	for _, part := range []struct{ setting, prefix, noun, fix string }{
		{"enableInference", link.PrefixEndpoint, "online endpoint", "delete it first with 'ml online-endpoint delete', and its deployments with it"},
		{"enableTraining", link.PrefixJob, "job", "let it end, or cancel it first with 'ml job cancel'"},
	} {
		if before[part.setting] != "True" || after[part.setting] == "True" {
			continue
		}
		users, err := toldOf(ctx, p.Tx, cluster.Key(), part.prefix, part.noun)
		if err != nil {
			return err
		}
		if len(users) > 0 {
			return arm.Errorf(http.StatusConflict, "ResourceInUse", "%s is set to False, but cluster %s has %s; %s.", part.setting, cluster.Name(), strings.Join(users, ", "), part.fix)
		}
	}
	return nil
}

// toldOf names what is in a cluster's desired map below a prefix and has not ended, at most maxNamed.
func toldOf(ctx context.Context, r store.Reader, cluster, prefix, noun string) ([]string, error) {
	entries, err := r.Desired(ctx, cluster, prefix, 0)
	if err != nil {
		return nil, fmt.Errorf("reading %s* of cluster %s: %w", prefix, cluster, err)
	}
	var names []string
	for _, e := range entries {
		var v struct{ Resource string }
		if err := json.Unmarshal(e.Value, &v); err != nil {
			return nil, fmt.Errorf("decoding %s of cluster %s: %w", e.Key, cluster, err)
		}
		rec, err := r.Get(ctx, strings.ToLower(v.Resource))
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", v.Resource, err)
		}
		if runstate.Terminal(field(rec, "status")) { // of a job
			continue
		}
		names = append(names, fmt.Sprintf("%s %s of workspace %s", noun, rec.Name, workspaceOf(arm.MustParseID(rec.ID)).Name()))
		if len(names) == maxNamed {
			break
		}
	}
	return names, nil
}

// patchExtension is the usual merge, but that node selectors stay.
func patchExtension(old, patch json.RawMessage) (json.RawMessage, error) {
	var body struct {
		Properties struct {
			ConfigurationSettings map[string]any `json:"configurationSettings"`
		} `json:"properties"`
	}
	if json.Unmarshal(patch, &body) == nil { // what is of another form is refused with everybody's else
		for key, value := range body.Properties.ConfigurationSettings {
			if p := extensionsettings.CheckRemoval(key); value == nil && p != nil {
				return nil, refusalOf(*p)
			}
		}
	}
	return engine.MergeEnvelope(old, patch)
}

// noProtected turns the empty text that templates send for "none" into what it means.
func noProtected(props map[string]any) {
	if props[protectedSettings] == "" {
		props[protectedSettings] = map[string]any{}
	}
}
