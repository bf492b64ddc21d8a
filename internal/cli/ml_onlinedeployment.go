package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/internal/cli/spec"
)

var deploymentKind = kind{
	api: apiML, shape: deploymentShape, one: childOfEndpoint("onlineEndpoints"), many: childrenOfEndpoint("onlineEndpoints"),
	columns: cols("Name=name", "Endpoint=endpoint_name", "Model=model", "InstanceType=instance_type", "ProvisioningState=provisioning_state", "Reason=properties.\"fairlead.statusReason\""),
	show:    help{"Show a deployment", "  fairlead ml online-deployment show -n blue -e digits -g G -w W"},
	list:    help{"List an endpoint's deployments", "  fairlead ml online-deployment list -e digits -g G -w W -o table"},
}

func (a *app) mlOnlineDeployment() *cobra.Command {
	return noun("online-deployment", "Put models behind an online endpoint",
		a.deploymentCreate(), a.shower(deploymentKind), a.lister(deploymentKind), a.deploymentUpdate(),
		a.deleter(deploymentKind, removal{
			question: "Delete deployment {name} of endpoint {parent}?", force: "also when the endpoint sends it requests",
			help: help{"Delete a deployment", "  fairlead ml online-deployment delete -n blue -e digits -g G -w W --yes"},
		}), a.deploymentLogs(), a.servingMetrics(deploymentKind, "online-deployment", "a deployment", "-n blue -e digits"))
}

// addEndpoint defines --endpoint-name/-e; collection is that of the endpoints.
func (a *app) addEndpoint(c *cobra.Command, t *target, collection string, endpoint *string) {
	c.Flags().StringVarP(endpoint, "endpoint-name", "e", "", "`name` of the endpoint")
	_ = c.RegisterFlagCompletionFunc("endpoint-name", a.complete(inWorkspace(collection), t, apiML))
}

// addDeployment defines the flags that name a deployment.
func (a *app) addDeployment(c *cobra.Command, t *target, collection string, endpoint, name *string) {
	a.addWorkspace(c, t)
	a.addEndpoint(c, t, collection, endpoint)
	a.addName(c, name, "deployment", t, func(s *session, t target) string {
		return inWorkspace(collection)(s, t) + "/" + *endpoint + "/deployments"
	}, apiML)
}

// childOfEndpoint names a deployment.
func childOfEndpoint(collection string) scope {
	return func(a *app, c *cobra.Command) func() (place, error) {
		var t target
		var endpoint, name string
		a.addDeployment(c, &t, collection, &endpoint, &name)
		return func() (place, error) { return a.deploymentAt(&t, collection, endpoint, name) }
	}
}

func (a *app) deploymentAt(t *target, collection, endpoint, name string) (place, error) {
	s, ws, err := a.workspace(t, need{"--endpoint-name/-e", endpoint}, need{"--name/-n", name})
	if err != nil {
		return place{}, err
	}
	path, err := child(ws.Child(collection, endpoint), "deployments", name)
	return place{session: s, path: path, name: name, parent: endpoint}, err
}

// childrenOfEndpoint names the deployments of an endpoint.
func childrenOfEndpoint(collection string) scope {
	return func(a *app, c *cobra.Command) func() (place, error) {
		var t target
		var endpoint string
		a.addWorkspace(c, &t)
		a.addEndpoint(c, &t, collection, &endpoint)
		return func() (place, error) {
			s, ws, err := a.workspace(&t, need{"--endpoint-name/-e", endpoint})
			if err != nil {
				return place{}, err
			}
			path, err := child(ws, collection, endpoint)
			return place{session: s, path: path + "/deployments"}, err
		}
	}
}

type deploymentFlags struct {
	target
	file, endpoint, name           string
	set                            []string
	allTraffic, noWait, local, any bool
}

func (a *app) deploymentCreate() *cobra.Command {
	var f deploymentFlags
	c := a.leaf(&cobra.Command{
		Use: "create", Short: "Create a deployment", Long: `Create a deployment of an online endpoint from a YAML file. A local model and local code are uploaded first.
With --all-traffic the endpoint sends it every request as soon as it is up.`,
		Example: "  fairlead ml online-deployment create -f blue.yml --all-traffic -g G -w W\n  fairlead ml online-deployment create -f blue.yml -n green --set instance_count=2 -g G -w W",
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.runDeploymentCreate(cmd.Context(), f) },
	})
	a.addDeployment(c, &f.target, "onlineEndpoints", &f.endpoint, &f.name)
	addFile(c, &f.file, &f.set)
	c.Flags().BoolVar(&f.allTraffic, "all-traffic", false, "send every request of the endpoint to this deployment once it is up")
	c.Flags().BoolVar(&f.any, "skip-script-validation", false, "accepted for compatibility: the script is tried in the cluster")
	addNoWait(c, &f.noWait)
	addLocal(c, &f.local)
	return c
}

func (a *app) deploymentDocument(f *deploymentFlags, all bool) (*spec.OnlineDeployment, error) {
	if err := refuseLocal(f.local); err != nil {
		return nil, err
	}
	doc, err := a.document(f.file, f.set, map[string]string{"name": f.name, "endpoint_name": f.endpoint})
	if err != nil {
		return nil, err
	}
	o, err := doc.OnlineDeployment(all)
	return o, specError(f.file, err)
}

func (a *app) runDeploymentCreate(ctx context.Context, f deploymentFlags) error {
	if f.allTraffic && f.noWait {
		return usagef("--all-traffic and --no-wait exclude each other: the traffic is set once the deployment is up")
	}
	o, err := a.deploymentDocument(&f, true)
	if err != nil {
		return err
	}
	p, err := a.deploymentAt(&f.target, "onlineEndpoints", o.Endpoint, o.Name)
	if err != nil {
		return err
	}
	body, err := a.deploymentBody(ctx, p, f, o)
	if err != nil {
		return err
	}
	body["properties"].(map[string]any)["endpointComputeType"] = "Kubernetes"
	res, err := p.put(ctx, p.path, apiML, body, f.noWait)
	if err != nil {
		return deploymentFailed(err, p)
	}
	if f.allTraffic {
		if err := a.sendAll(ctx, &f.target, p); err != nil {
			return fmt.Errorf("deployment %s is up, but gets no traffic: %w", p.name, err)
		}
	}
	return a.print(deploymentShape(res), deploymentKind.columns...)
}

// deploymentFailed says where to look.
func deploymentFailed(err error, p place) error {
	return hint(err, "Logs: fairlead ml online-deployment get-logs -n %s -e %s [--container storage-initializer]", p.name, p.parent)
}

// sendAll gives a deployment all of its endpoint's traffic.
func (a *app) sendAll(ctx context.Context, t *target, p place) error {
	_, ws, err := a.workspace(t)
	if err != nil {
		return err
	}
	path, err := child(ws, "onlineEndpoints", p.parent)
	if err != nil {
		return err
	}
	old, err := p.get(ctx, path, apiML)
	if err != nil {
		return err
	}
	body := overlay(old, map[string]any{})
	props := overlay(sub(old, "properties"), map[string]any{})
	props["traffic"] = map[string]any{p.name: 100}
	if strings.EqualFold(only(sub(props, "mirrorTraffic")), p.name) {
		delete(props, "mirrorTraffic")
	}
	body["properties"] = props
	_, err = p.put(ctx, path, apiML, body, false)
	return err
}

// only is the one key of a map.
func only(m map[string]any) string {
	for k := range m {
		return k
	}
	return ""
}

func (a *app) deploymentUpdate() *cobra.Command {
	var f deploymentFlags
	c := a.leaf(&cobra.Command{
		Use: "update", Short: "Change a deployment; requests go on being answered", Example: "  fairlead ml online-deployment update -n blue -e digits --set instance_count=3 -g G -w W\n  fairlead ml online-deployment update -f blue.yml -g G -w W",
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runDeploymentUpdate(cmd.Context(), f) },
	})
	a.addDeployment(c, &f.target, "onlineEndpoints", &f.endpoint, &f.name)
	addFile(c, &f.file, &f.set)
	c.Flags().BoolVar(&f.any, "skip-script-validation", false, "accepted for compatibility: the script is tried in the cluster")
	addNoWait(c, &f.noWait)
	addLocal(c, &f.local)
	return c
}

func (a *app) runDeploymentUpdate(ctx context.Context, f deploymentFlags) error {
	if f.file == "" && len(f.set) == 0 {
		return usagef("nothing to change: give --file/-f or --set")
	}
	o, err := a.deploymentDocument(&f, false)
	if err != nil {
		return err
	}
	p, err := a.deploymentAt(&f.target, "onlineEndpoints", o.Endpoint, o.Name)
	if err != nil {
		return err
	}
	old, err := p.get(ctx, p.path, apiML)
	if err != nil {
		return err
	}
	body, err := a.deploymentBody(ctx, p, f, o)
	if err != nil {
		return err
	}
	next := overlay(old, body)
	if vars := sub(body, "properties", "environmentVariables"); vars != nil && f.file != "" { // a file has them all, --set adds one
		next["properties"].(map[string]any)["environmentVariables"] = vars
	}
	scale, err := scaleOf(sub(old, "properties", "scaleSettings"), sub(body, "properties", "scaleSettings"), body["sku"] != nil)
	if err != nil && f.file == "" { // a file may hold a number for when it has no scale settings
		return err
	}
	if scale != nil {
		next["properties"].(map[string]any)["scaleSettings"] = scale
	}
	res, err := p.put(ctx, p.path, apiML, next, f.noWait)
	if err != nil {
		return deploymentFailed(err, p)
	}
	return a.print(deploymentShape(res), deploymentKind.columns...)
}
