package cli

import (
	"context"

	"github.com/spf13/cobra"
)

// connectedk8sUpdate changes how the agent reaches out. The agent is installed anew under the cluster's old resource, with a new
// key; jobs go on, and the extension's components follow once the agent is back.
func (a *app) connectedk8sUpdate() *cobra.Command {
	var f connectFlags
	var disable bool
	c := a.leaf(&cobra.Command{
		Use: "update", Short: "Change the outbound proxy of a connected cluster",
		Long: `Install the agent of a connected cluster anew, with another outbound proxy or none. Running jobs go on; the extension's
components restart with the new settings. The agent gets a new key and the old one ends.`,
		Example: `  fairlead connectedk8s update -n C -g G --proxy-https http://proxy:3128 --proxy-skip-range 10.0.0.0/8,.svc
  fairlead connectedk8s update -n C -g G --disable-proxy`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runUpdate(cmd.Context(), f, disable) },
	})
	a.addGroup(c, &f.target)
	a.addName(c, &f.name, "cluster", &f.target, nil, "")
	f.bindAgent(c)
	c.Flags().BoolVar(&disable, "disable-proxy", false, "reach the control plane without a proxy")
	return c
}

func (a *app) runUpdate(ctx context.Context, f connectFlags, disable bool) error {
	proxied := f.install.HTTPSProxy != "" || f.install.HTTPProxy != "" || f.proxyCert != ""
	if proxied == disable {
		return usagef("give either --proxy-https, --proxy-http or --proxy-cert, or --disable-proxy")
	}
	o, err := a.inspect(ctx, &f)
	if err != nil {
		return err
	}
	old, err := o.session.get(ctx, o.id.String(), apiKubernetes)
	if err != nil {
		return err
	}
	f.location = text(old, "location")
	return a.register(ctx, o, f, old["tags"])
}
