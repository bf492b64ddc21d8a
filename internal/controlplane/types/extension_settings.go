package types

import (
	"encoding/json"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/engine"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/extensionsettings"
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
