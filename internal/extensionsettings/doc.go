// Package extensionsettings is the one table of the machine learning extension's configuration settings.
//
//	Validate ── the command line, the control plane and the cluster's agent refuse the same things in the same words
//	Effective ─ what settings of all vocabularies come to, in one
//	Values ──── the chart's values
//	Changes ─── which jobs and endpoints an update disturbs
//
// Three vocabularies meet here: that of the 2021 preview, its successor (GA), and what the reference's command line adds before it
// sends them. Names of GA are the ones everything is turned into; a setting of another vocabulary Stands for some of them. The users'
// guide docs/guides/extension-settings.md and the list in `k8s-extension create --help` are written from the table.
package extensionsettings

//go:generate go run ./guide -o ../../docs/guides/extension-settings.md

// Settings are what a user configures an extension with.
type Settings struct {
	Plain, Protected map[string]string
}
