package cli

import (
	"context"

	"github.com/spf13/cobra"
)

// connectedk8sUpdate changes how the agent reaches out and which images it runs. The agent is installed anew under the cluster's old resource, with a new
// key; jobs go on, and the extension's components follow once the agent is back.
func (a *app) connectedk8sUpdate() *cobra.Command {
	var f connectFlags
	var disable bool
	c := a.leaf(&cobra.Command{
		Use: "update", Short: "Change the outbound proxy or the images of a connected cluster",
		Long: `Install the agent of a connected cluster anew, with another outbound proxy or none, or with other images. What is not
given stays. Running jobs go on; the extension's components restart with the new settings. The agent gets a new key and
the old one ends.`,
		Example: `  fairlead connectedk8s update -n C -g G --proxy-https http://proxy:3128 --proxy-skip-range 10.0.0.0/8,.svc
  fairlead connectedk8s update -n C -g G --disable-proxy
  fairlead connectedk8s update -n C -g G --agent-image registry.example/fairlead/agent:2 --runtime-image registry.example/fairlead/runtime:2`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runUpdate(cmd.Context(), f, disable) },
	})
	a.addGroup(c, &f.target)
	a.addName(c, &f.name, "cluster", &f.target, nil, "")
	f.bindAgent(c)
	c.Flags().BoolVar(&disable, "disable-proxy", false, "reach the control plane without a proxy")
	return c
}

func (a *app) runUpdate(ctx context.Context, f connectFlags, disable bool) error {
	in := &f.install
	proxied := in.HTTPSProxy != "" || in.HTTPProxy != "" || f.proxyCert != ""
	if proxied && disable {
		return usagef("give either --proxy-https, --proxy-http or --proxy-cert, or --disable-proxy")
	}
	in.Update, in.KeepProxy = true, !proxied && !disable
	if in.KeepProxy && in.AgentImage == "" && in.RouterImage == "" && in.RuntimeImage == "" && in.PullSecret == "" {
		return usagef("nothing to change: give --proxy-https, --proxy-http, --proxy-cert or --disable-proxy, or --agent-image, --router-image, --runtime-image or --image-pull-secret")
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
