package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"fairlead.dev/fairlead/api/arm"
	ml "fairlead.dev/fairlead/api/machinelearning"
	"fairlead.dev/fairlead/internal/cli/output"
	"fairlead.dev/fairlead/internal/cli/profile"
	"fairlead.dev/fairlead/internal/client"
)

// API versions sent, by namespace; the control plane is lenient about them.
const (
	apiResources  = "2021-04-01"
	apiML         = ml.APIVersion
	apiKubernetes = "2024-01-01"
	apiManaged    = "2024-09-01"
	apiExtension  = "2023-05-01"
	apiIdentity   = "2023-01-31"
	apiRoles      = "2022-04-01"
)

// session is a logged-in connection to a control plane.
type session struct {
	*client.Client
	app     *app
	profile profile.Profile
	store   profile.Store
	sub     string
}

func (a *app) store() (profile.Store, error) {
	dir, err := profile.Dir(a.deps.Env)
	return profile.Store{Dir: dir, Env: a.deps.Env}, err
}

// connect loads the profile and makes a client whose calls carry its token.
func (a *app) connect() (*session, error) {
	store, err := a.store()
	if err != nil {
		return nil, err
	}
	p, err := store.Load()
	if err != nil {
		return nil, err
	}
	s := &session{app: a, profile: p, store: store, sub: p.Subscription}
	if a.subscription != "" {
		s.sub = a.subscription
	}
	s.Client, err = a.newClient(p.Endpoint, p.CAFile, s.token)
	return s, err
}

func (a *app) newClient(endpoint, caFile string, token client.TokenFunc) (*client.Client, error) {
	var pem []byte
	if caFile != "" {
		var err error
		if pem, err = os.ReadFile(caFile); err != nil {
			return nil, fmt.Errorf("reading the control plane's CA: %w", err)
		}
	}
	cfg := client.Config{Endpoint: endpoint, CAPEM: pem, Token: token, UserAgent: "fairlead-cli/" + a.deps.Version, Sleep: a.deps.Sleep}
	if a.debug || a.verbose {
		cfg.Trace = func(format string, args ...any) { fmt.Fprintf(a.deps.Stderr, "DEBUG: "+format+"\n", args...) }
	}
	return client.New(cfg)
}

// token returns the cached token while it lives for two more minutes, else asks for another.
func (s *session) token(ctx context.Context, renew bool) (string, error) {
	t, ok := s.store.Token(s.profile)
	now := s.app.deps.Now()
	if ok && !renew && t.ExpiresOn.After(now.Add(2*time.Minute)) {
		return t.AccessToken, nil
	}
	if s.profile.ClientSecret == "" && s.profile.RefreshToken == "" {
		return "", hint(errors.New("the login has expired"), "Run 'fairlead login' again.")
	}
	anonymous, err := s.app.newClient(s.profile.Endpoint, s.profile.CAFile, nil)
	if err != nil {
		return "", err
	}
	if s.profile.ClientSecret == "" {
		return s.refresh(ctx, anonymous, now)
	}
	t, err = anonymous.ClientCredentials(ctx, s.profile.Tenant, s.profile.ClientID, s.profile.ClientSecret, now)
	if err != nil {
		return "", fmt.Errorf("getting a token: %w", err)
	}
	return t.AccessToken, s.store.SaveToken(s.profile, t)
}

// refresh goes on with a person's login, and keeps what the next time needs.
func (s *session) refresh(ctx context.Context, c *client.Client, now time.Time) (string, error) {
	l, err := c.Refresh(ctx, s.profile.Tenant, s.profile.RefreshToken, now)
	if e, ok := errors.AsType[*arm.Error](err); ok && e.Code == "invalid_grant" {
		return "", hint(errors.New("the login has ended"), "Run 'fairlead login' again.")
	}
	if err != nil {
		return "", fmt.Errorf("getting a token: %w", err)
	}
	s.profile.RefreshToken = l.RefreshToken
	stored, err := s.store.Stored()
	if err == nil && stored.Endpoint == s.profile.Endpoint && stored.ClientID == s.profile.ClientID && stored.Username == s.profile.Username {
		stored.RefreshToken = l.RefreshToken
		err = s.store.Save(stored)
	}
	return l.AccessToken, errors.Join(err, s.store.SaveToken(s.profile, l.Token))
}

// target is where a command acts: a subscription, a resource group and perhaps a workspace.
type target struct {
	group, workspace string
}

// groupID is the resource id of the group.
func (s *session) groupID(t target) (arm.ID, error) {
	if s.sub == "" {
		return arm.ID{}, usagef("no subscription is set: give --subscription, or run 'fairlead account set --subscription <id>'")
	}
	return parseParts(arm.ID{Subscription: s.sub, ResourceGroup: t.group})
}

// workspaceID is the resource id of the workspace.
func (s *session) workspaceID(t target) (arm.ID, error) {
	g, err := s.groupID(t)
	if err != nil {
		return g, err
	}
	return resourceID(g, "Microsoft.MachineLearningServices", "workspaces", t.workspace)
}

func resourceID(g arm.ID, namespace, typ, name string) (arm.ID, error) {
	id := g
	id.Segments = append(append([]arm.Segment{}, g.Segments...), arm.Segment{Namespace: namespace, Types: []string{typ}, Names: []string{name}})
	return parseParts(id)
}

// parseParts checks that names put into an id stay single segments.
func parseParts(id arm.ID) (arm.ID, error) {
	back, err := arm.ParseID(id.String())
	if err != nil {
		return id, usagef("%v", err)
	}
	if back.Type() != id.Type() || back.Key() != id.Key() || len(back.Segments) != len(id.Segments) {
		return id, usagef("a name in %q contains \"/\"", id)
	}
	return back, nil
}

// put sends a PUT and, unless noWait, follows it to its end with a spinner.
func (s *session) put(ctx context.Context, path, version string, body any, noWait bool) (map[string]any, error) {
	return s.send(ctx, http.MethodPut, path, version, body, noWait, "Running")
}

func (s *session) send(ctx context.Context, method, path, version string, body any, noWait bool, what string) (map[string]any, error) {
	res, err := s.Do(ctx, client.Request{Method: method, Path: path, Query: url.Values{"api-version": {version}}, Body: body})
	if err != nil {
		return nil, err
	}
	out := map[string]any{}
	if noWait {
		return out, res.Decode(&out)
	}
	spin := s.app.spinner(what)
	final, err := s.Wait(ctx, res, func(state string) { spin.say(state) })
	spin.stop()
	if err != nil {
		return nil, err
	}
	res.Body = final
	return out, res.Decode(&out)
}

func (s *session) get(ctx context.Context, path, version string) (map[string]any, error) {
	out := map[string]any{}
	return out, s.Get(ctx, path, version, &out)
}

// remove deletes a resource and waits for its end.
func (s *session) remove(ctx context.Context, path, version string, q url.Values, noWait bool) error {
	if q == nil {
		q = url.Values{}
	}
	q.Set("api-version", version)
	res, err := s.Do(ctx, client.Request{Method: http.MethodDelete, Path: path, Query: q})
	if err != nil || noWait {
		return err
	}
	spin := s.app.spinner("Deleting")
	defer spin.stop()
	_, err = s.Wait(ctx, res, func(state string) { spin.say(state) })
	return err
}

func isNotFound(err error) bool {
	var e *arm.Error
	return errors.As(err, &e) && e.Status == http.StatusNotFound
}

// print writes a result in the chosen format; columns are for tables.
func (a *app) print(v any, columns ...output.Column) error {
	return output.Write(a.deps.Stdout, v, output.Options{
		Format: a.output, Query: a.query, Columns: columns, Colour: a.deps.StdoutTTY && a.deps.Env("NO_COLOR") == "",
	})
}

// cols makes columns from "Title=path" texts.
func cols(specs ...string) []output.Column {
	out := make([]output.Column, len(specs))
	for i, c := range specs {
		title, path, _ := strings.Cut(c, "=")
		out[i] = output.Column{Title: title, Path: path}
	}
	return out
}
