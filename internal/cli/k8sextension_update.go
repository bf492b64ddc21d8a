package cli

import (
	"context"
	"fmt"
	"maps"
	"net/http"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/internal/extensionsettings"
)

type extensionUpdateFlags struct {
	extensionTarget
	settings                         settingsFlags
	version, releaseTrain, autoMinor string
	yes, noWait                      bool
}

func (a *app) k8sExtensionUpdate() *cobra.Command {
	var f extensionUpdateFlags
	c := a.leaf(&cobra.Command{
		Use: "update", Short: "Change an extension's settings or version",
		Long: `Change an extension. Settings that are given are merged into those it has; protected settings are replaced as a whole.
Settings are those of "k8s-extension create". A change that disturbs running jobs or endpoints is named, and asked about.`,
		Example: "  fairlead k8s-extension update -n arcml -c C -t connectedClusters -g G --config nodeSelector.pool=ml --yes",
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.runExtensionUpdate(cmd.Context(), f) },
	})
	a.extensionFlags(c, &f.extensionTarget, true)
	f.settings.register(c)
	c.Flags().StringVar(&f.version, "version", "", "`version` to pin to, with --auto-upgrade-minor-version false")
	c.Flags().StringVar(&f.releaseTrain, "release-train", "", "release `train`")
	c.Flags().StringVar(&f.autoMinor, "auto-upgrade-minor-version", "", "`true` or false: follow minor versions; true ends the pinning of a version")
	addYes(c, &f.yes)
	addNoWait(c, &f.noWait)
	return c
}

func (a *app) runExtensionUpdate(ctx context.Context, f extensionUpdateFlags) error {
	settings, err := a.readSettings(f.settings)
	if err != nil {
		return err
	}
	props, err := f.props(settings)
	if err != nil {
		return err
	}
	s, cluster, err := a.cluster(&f.extensionTarget, true)
	if err != nil {
		return err
	}
	path, err := extensionPath(cluster, f.name)
	if err != nil {
		return err
	}
	got, err := s.get(ctx, path, apiExtension)
	if err != nil {
		return err
	}
	if err := a.checkUpdate(f, storedSettings(got), settings); err != nil {
		return err
	}
	got, err = s.send(ctx, http.MethodPatch, path, apiExtension, map[string]any{"properties": props}, f.noWait, "Updating")
	if err != nil {
		return err
	}
	return a.print(extensionShape(got), extensionColumns...)
}

// props is what the update sends.
func (f extensionUpdateFlags) props(settings extensionsettings.Settings) (map[string]any, error) {
	props := map[string]any{}
	if err := versionProps(props, f.version, f.releaseTrain, f.autoMinor); err != nil {
		return nil, err
	}
	if props["autoUpgradeMinorVersion"] == true {
		props["version"] = nil // a version that is followed is not pinned any more
	}
	if len(settings.Plain) > 0 {
		props["configurationSettings"] = settings.Plain
	}
	if f.settings.givesProtected() {
		props["configurationProtectedSettings"] = settings.Protected
	}
	if len(props) == 0 {
		return nil, usagef("nothing to change: give --config, --config-protected, --version, --release-train or --auto-upgrade-minor-version")
	}
	return props, nil
}

// checkUpdate checks what the settings come to, and asks before anything is disturbed.
func (a *app) checkUpdate(f extensionUpdateFlags, old map[string]string, given extensionsettings.Settings) error {
	if len(given.Plain) == 0 && !f.settings.givesProtected() {
		return nil
	}
	updated := extensionsettings.Settings{Plain: maps.Clone(old), Protected: given.Protected}
	maps.Copy(updated.Plain, given.Plain)
	if err := a.checkSettings(updated, given, extensionsettings.Options{KeepsProtected: !f.settings.givesProtected(), Stored: extensionsettings.Settings{Plain: old}}); err != nil {
		return err
	}
	if f.settings.givesProtected() {
		a.note("Protected settings are replaced as a whole: those that are not given now are removed.")
	}
	impact := extensionsettings.Changes(old, updated.Plain)
	if impact.Workloads == 0 {
		return nil
	}
	a.warn("%s", impact.Text())
	return a.confirm(f.yes, "Proceed?")
}

// storedSettings are the plain settings of an extension as the control plane shows it.
func storedSettings(extension map[string]any) map[string]string {
	out := map[string]string{}
	for key, value := range sub(extension, "properties", "configurationSettings") {
		out[key] = fmt.Sprint(value)
	}
	return out
}
