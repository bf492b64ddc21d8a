package cli

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/internal/client"
)

var endpointKind = kind{
	api: apiML, shape: endpointShape, one: childOf("onlineEndpoints", "endpoint"), many: childrenOf("onlineEndpoints"),
	columns: cols("Name=name", "Auth=auth_mode", "Traffic=traffic", "ProvisioningState=provisioning_state", "ScoringUri=scoring_uri"),
	show:    help{"Show an online endpoint", "  fairlead ml online-endpoint show -n digits -g G -w W"},
	list:    help{"List online endpoints", "  fairlead ml online-endpoint list -g G -w W -o table"},
}

func (a *app) mlOnlineEndpoint() *cobra.Command {
	return noun("online-endpoint", "Serve models to callers over HTTP, from an attached cluster",
		a.endpointCreate(), a.shower(endpointKind), a.lister(endpointKind), a.endpointUpdate(),
		a.deleter(endpointKind, removal{
			question: "Delete endpoint {name} of workspace {parent} with its deployments?",
			help:     help{"Delete an online endpoint with its deployments", "  fairlead ml online-endpoint delete -n digits -g G -w W --yes"},
		}),
		a.endpointInvoke(), a.endpointCredentials(), a.endpointRegenerate(), a.servingMetrics(endpointKind, "online-endpoint", "an endpoint", "-n digits"))
}

type endpointFlags struct {
	target
	file, name, authMode, traffic, mirror string
	set                                   []string
	noWait, local                         bool
}

// addLocal defines --local, which has no meaning here, so that whoever gives it learns why.
func addLocal(c *cobra.Command, local *bool) {
	c.Flags().BoolVar(local, "local", false, "not supported: endpoints run on attached clusters")
}

func refuseLocal(local bool) error {
	if local {
		return usagef("argument --local: endpoints on this machine's Docker are not supported; attach a cluster ('fairlead up' makes one here) and leave --local out")
	}
	return nil
}

func (a *app) endpointCreate() *cobra.Command {
	var f endpointFlags
	c := a.leaf(&cobra.Command{
		Use: "create", Short: "Create an online endpoint",
		Example: "  fairlead ml online-endpoint create -f endpoint.yml -g G -w W\n  fairlead ml online-endpoint create -n digits --set compute=azureml:k8s -g G -w W",
		RunE: func(cmd *cobra.Command, _ []string) error {
			body, name, err := a.endpointBody(cmd.Context(), &f, true)
			if err != nil {
				return err
			}
			return a.putEndpoint(cmd.Context(), f, name, func(map[string]any) map[string]any { return body }, true)
		},
	})
	a.addChild(c, &f.target, &f.name, "onlineEndpoints", "endpoint")
	addFile(c, &f.file, &f.set)
	c.Flags().StringVar(&f.authMode, "auth-mode", "", "`mode`: key or aml_token (default: key)")
	addNoWait(c, &f.noWait)
	addLocal(c, &f.local)
	return c
}

func (a *app) endpointUpdate() *cobra.Command {
	var f endpointFlags
	c := a.leaf(&cobra.Command{
		Use: "update", Short: "Change an online endpoint, such as which deployment answers",
		Example: "  fairlead ml online-endpoint update -n digits --traffic \"blue=90 green=10\" -g G -w W",
		RunE: func(cmd *cobra.Command, _ []string) error {
			body, name, err := a.endpointBody(cmd.Context(), &f, false)
			if err != nil {
				return err
			}
			return a.putEndpoint(cmd.Context(), f, name, func(old map[string]any) map[string]any { return withIdentity(overlay(old, body), body) }, false)
		},
	})
	a.addChild(c, &f.target, &f.name, "onlineEndpoints", "endpoint")
	addFile(c, &f.file, &f.set)
	c.Flags().StringVarP(&f.traffic, "traffic", "r", "", "`shares` of the deployments in percent, such as \"blue=90 green=10\"; those not named get none")
	c.Flags().StringVarP(&f.mirror, "mirror-traffic", "m", "", "`share` of requests of which a deployment gets copies, such as \"green=10\"")
	addNoWait(c, &f.noWait)
	addLocal(c, &f.local)
	return c
}

// endpointBody reads file and flags. Only what they say is in the body.
func (a *app) endpointBody(ctx context.Context, f *endpointFlags, all bool) (map[string]any, string, error) {
	if err := refuseLocal(f.local); err != nil {
		return nil, "", err
	}
	doc, err := a.document(f.file, f.set, map[string]string{"name": f.name, "auth_mode": f.authMode})
	if err != nil {
		return nil, "", err
	}
	e, err := doc.OnlineEndpoint(all)
	if err != nil {
		return nil, "", specError(f.file, err)
	}
	props := map[string]any{}
	if e.Description != "" {
		props["description"] = e.Description
	}
	if mode := map[string]string{"key": "Key", "aml_token": "AMLToken"}[e.AuthMode]; mode != "" {
		props["authMode"] = mode
	}
	if e.Traffic != nil {
		props["traffic"] = e.Traffic
	}
	if e.MirrorTraffic != nil {
		props["mirrorTraffic"] = e.MirrorTraffic
	}
	for flag, value := range map[string]string{"traffic": f.traffic, "mirror-traffic": f.mirror} {
		if value == "" {
			continue
		}
		shares, err := sharesOf("--"+flag, value)
		if err != nil {
			return nil, "", err
		}
		props[map[string]string{"traffic": "traffic", "mirror-traffic": "mirrorTraffic"}[flag]] = shares
	}
	body := map[string]any{"properties": props}
	if e.Tags != nil {
		body["tags"] = e.Tags
	}
	if identity := managedIdentity(e.Identity); identity != nil {
		body["identity"] = identity
	}
	if e.Compute == "" {
		return body, e.Name, nil
	}
	s, ws, err := a.workspace(&f.target)
	if err != nil {
		return nil, "", err
	}
	props["compute"], err = s.findCompute(ctx, ws, e.Compute)
	return body, e.Name, err
}

// sharesOf reads "blue=90 green=10".
func sharesOf(flag, text string) (map[string]int, error) {
	given, err := keyValues(flag, strings.Fields(strings.ReplaceAll(text, ",", " ")))
	if err != nil {
		return nil, err
	}
	out := map[string]int{}
	for name, value := range given {
		n, err := strconv.Atoi(value)
		if err != nil || n < 0 || n > 100 {
			return nil, usagef("argument %s: %q: want <deployment>=<percent>, a whole number from 0 to 100", flag, name+"="+value)
		}
		out[name] = n
	}
	return out, nil
}

// putEndpoint writes an endpoint; edit gets what there is, nil when it is made.
func (a *app) putEndpoint(ctx context.Context, f endpointFlags, name string, edit func(map[string]any) map[string]any, create bool) error {
	s, ws, err := a.workspace(&f.target, need{"--name/-n", name})
	if err != nil {
		return err
	}
	path, err := child(ws, "onlineEndpoints", name)
	if err != nil {
		return err
	}
	var old map[string]any
	if !create {
		if old, err = s.get(ctx, path, apiML); err != nil {
			return err
		}
	}
	res, err := s.put(ctx, path, apiML, edit(old), f.noWait)
	if err != nil {
		return err
	}
	return a.print(endpointShape(res), endpointKind.columns...)
}

// withIdentity takes an identity from a body as a whole, where there is one: what is not in it any more is taken away.
func withIdentity(out, body map[string]any) map[string]any {
	if id, given := body["identity"]; given {
		out["identity"] = id
	}
	return out
}

// overlay is a resource with the values of another over its own, to be written back.
func overlay(old, over map[string]any) map[string]any {
	out := map[string]any{}
	for k, v := range old {
		out[k] = v
	}
	for k, v := range over {
		from, isMap := out[k].(map[string]any)
		if to, both := v.(map[string]any); both && isMap {
			v = overlay(from, to)
		}
		out[k] = v
	}
	return out
}

func endpointShape(r map[string]any) map[string]any {
	out := lift(envelope(r), r, "authMode")
	out["auth_mode"] = map[string]string{"Key": "key", "AMLToken": "aml_token"}[text(r, "properties", "authMode")]
	if id := text(r, "properties", "compute"); id != "" {
		out["compute"] = assetRef(id)
	}
	if id := sub(r, "identity"); len(id) > 0 {
		out["identity"] = identityShape(id)
	}
	return out
}

// postEndpoint calls an action of an endpoint.
func (s *session) postEndpoint(ctx context.Context, path, action string, body any) (map[string]any, error) {
	if body == nil {
		body = map[string]any{}
	}
	res, err := s.Do(ctx, client.Request{Method: http.MethodPost, Path: path + "/" + action, Query: url.Values{"api-version": {apiML}}, Body: body})
	if err != nil {
		return nil, err
	}
	out := map[string]any{}
	return out, res.Decode(&out)
}

func (a *app) endpointCredentials() *cobra.Command {
	c := &cobra.Command{Use: "get-credentials", Short: "Show the keys, or a token, by which an endpoint is called",
		Example: "  fairlead ml online-endpoint get-credentials -n digits -g G -w W --query primaryKey -o tsv"}
	return a.about(endpointKind.one, c, func(ctx context.Context, p place) error {
		got, err := p.credentials(ctx, p.path)
		if err != nil {
			return err
		}
		return a.print(got, cols("PrimaryKey=primaryKey", "SecondaryKey=secondaryKey", "AccessToken=accessToken", "ExpiryTimeUtc=expiryTimeUtc")...)
	})
}

// credentials are an endpoint's keys, or a token.
func (s *session) credentials(ctx context.Context, path string) (map[string]any, error) {
	got, err := s.get(ctx, path, apiML)
	if err != nil {
		return nil, err
	}
	if text(got, "properties", "authMode") == "AMLToken" {
		return s.postEndpoint(ctx, path, "token", nil)
	}
	return s.postEndpoint(ctx, path, "listKeys", nil)
}

func (a *app) endpointRegenerate() *cobra.Command {
	var which string
	var noWait bool
	c := &cobra.Command{Use: "regenerate-keys", Short: "Replace one of an endpoint's keys",
		Example: "  fairlead ml online-endpoint regenerate-keys -n digits --key-type primary -g G -w W"}
	c.Flags().StringVar(&which, "key-type", "primary", "`key` to replace: primary or secondary")
	addNoWait(c, &noWait)
	return a.about(endpointKind.one, c, func(ctx context.Context, p place) error {
		typ, ok := map[string]string{"primary": "Primary", "secondary": "Secondary"}[strings.ToLower(which)]
		if !ok {
			return usagef("argument --key-type: invalid choice: %q (choose from primary, secondary)", which)
		}
		_, err := p.send(ctx, http.MethodPost, p.path+"/regenerateKeys", apiML, map[string]any{"keyType": typ}, noWait, "Replacing the key")
		return err
	})
}
