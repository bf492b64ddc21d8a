package extensionsettings

import (
	"slices"
	"strings"

	"fairlead.dev/fairlead/internal/nearest"
)

// Origin is a set of places that a setting is known from.
type Origin int

// Origins.
const (
	// Preview is the vocabulary of the 2021 preview.
	Preview Origin = 1 << iota
	// GA is the vocabulary of its successor.
	GA
	// Troubleshooting are settings that only the reference's troubleshooting pages name.
	Troubleshooting
	// Client are settings that the reference's command line and templates add by themselves.
	Client
	// Own are settings that the reference does not have.
	Own
)

// String lists the origins for people.
func (o Origin) String() string {
	var names []string
	for i, name := range []string{"2021", "GA", "troubleshooting pages", "added by az", "Fairlead"} {
		if o&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// Workloads is a set of what runs in a cluster because of the extension.
type Workloads int

// Workloads.
const (
	Jobs Workloads = 1 << iota
	Endpoints
)

// Setting is a row of the table.
type Setting struct {
	// Name ends in ".*" for a family: any name below it.
	Name string
	From Origin
	Kind Kind
	// Below limits the names of a family.
	Below *below
	// Default holds when the setting is not given or empty.
	Default string
	// Protected settings are secret: encrypted at rest, never returned.
	Protected bool
	// Stands makes this another way to say settings of GA.
	Stands []stand
	// Disturbs says what a change interrupts; with OnlyOff, only a change from True to False.
	Disturbs Workloads
	OnlyOff  bool
	// Chart is the chart value the setting becomes, for a family the value above it. Empty where nothing takes it: it Stands for
	// others, is the name of a file that is sent as another, or Unused says why.
	Chart  string
	Unused string
	// Help is a line for people.
	Help string
}

// stand says what a setting stands for.
type stand struct {
	// when is the value it stands for something with, "" for any.
	when string
	// name is the setting it stands for, and value that one's; "" is the same value.
	name, value string
	// weak gives way to a setting that says otherwise.
	weak bool
}

// family is the prefix of a family's names, "" for a single setting.
func (s Setting) family() string {
	if prefix, ok := strings.CutSuffix(s.Name, "*"); ok {
		return prefix
	}
	return ""
}

// find gives the row of a key.
func find(key string) (Setting, bool) {
	for _, s := range Table {
		if prefix := s.family(); s.Name == key || prefix != "" && strings.HasPrefix(key, prefix) && len(key) > len(prefix) {
			return s, true
		}
	}
	return Setting{}, false
}

// misprints are names that the reference's own pages and programs print for others.
var misprints = map[string]string{"ssKeyPMFile": "sslKeyPemFile", "sslKeyPMFile": "sslKeyPemFile", "ssKeyPemFile": "sslKeyPemFile", "doamin": "domain"}

// meant guesses the name that an unknown key is a misspelling of.
func meant(key string) string {
	if name, ok := misprints[key]; ok {
		return name
	}
	names := make([]string, 0, len(Table))
	for _, s := range Table {
		names = append(names, s.Name)
	}
	if i := slices.IndexFunc(names, func(n string) bool { return strings.EqualFold(n, key) }); i >= 0 {
		return names[i]
	}
	return nearest.Word(key, names)
}

// On reports whether a setting is True in effect.
func (s Settings) On(name string) bool { return s.Effective()[name] == "True" }

// given is a setting's value; an empty one is none, as in the reference's templates.
func (s Settings) given(name string) string {
	if v := s.Plain[name]; v != "" {
		return v
	}
	return s.Protected[name]
}
