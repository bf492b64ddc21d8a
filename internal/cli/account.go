package cli

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/internal/client"
)

var accountColumns = cols("Name=name", "CloudName=cloudName", "SubscriptionId=id", "TenantId=tenantId", "State=state", "IsDefault=isDefault")

func (a *app) account() *cobra.Command {
	return noun("account", "Show and choose the subscription that is used", a.accountShow(), a.accountList(), a.accountSet(), a.accountToken())
}

// subscriptions lists what the login sees, in the shape of "account list".
func (s *session) subscriptions(ctx context.Context) ([]map[string]any, error) {
	items, err := s.List(ctx, "/subscriptions", url.Values{"api-version": {"2022-12-01"}}, 0)
	if err != nil {
		return nil, err
	}
	out := make([]map[string]any, 0, len(items))
	for _, i := range items {
		out = append(out, s.accountShape(text(i, "subscriptionId"), text(i, "displayName"), text(i, "state")))
	}
	return out, nil
}

func (s *session) accountShape(id, name, state string) map[string]any {
	return map[string]any{
		"id": id, "name": name, "state": state, "tenantId": s.profile.Tenant, "homeTenantId": s.profile.Tenant,
		"cloudName": "Fairlead", "environmentName": "Fairlead", "endpoint": s.Endpoint(), "isDefault": strings.EqualFold(id, s.sub),
		"user": s.user(),
	}
}

// user is who is logged in.
func (s *session) user() map[string]any {
	if s.profile.Username != "" {
		return map[string]any{"name": s.profile.Username, "type": "user"}
	}
	return map[string]any{"name": s.profile.ClientID, "type": "servicePrincipal"}
}

func (a *app) accountShow() *cobra.Command {
	return a.leaf(&cobra.Command{
		Use: "show", Short: "Show the subscription that is used, and the control plane", Example: "  fairlead account show -o table",
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.connect()
			if err != nil {
				return err
			}
			subs, err := s.subscriptions(cmd.Context())
			if err != nil {
				return err
			}
			for _, sub := range subs {
				if sub["isDefault"] == true {
					return a.print(sub, accountColumns...)
				}
			}
			return a.print(s.accountShape(s.sub, "", "Unknown"), accountColumns...)
		},
	})
}

func (a *app) accountList() *cobra.Command {
	var all, refresh bool
	c := a.leaf(&cobra.Command{
		Use: "list", Short: "List the subscriptions that the login sees", Example: "  fairlead account list -o table",
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.connect()
			if err != nil {
				return err
			}
			subs, err := s.subscriptions(cmd.Context())
			if err != nil {
				return err
			}
			return a.print(subs, accountColumns...)
		},
	})
	c.Flags().BoolVar(&all, "all", false, "accepted for compatibility: all are listed")
	c.Flags().BoolVar(&refresh, "refresh", false, "accepted for compatibility: the list is always fresh")
	return c
}

func (a *app) accountSet() *cobra.Command {
	var name string
	c := a.leaf(&cobra.Command{
		Use: "set", Short: "Choose the subscription that is used", Example: "  fairlead account set --subscription 00000000-0000-0000-0000-000000000001",
		RunE: func(cmd *cobra.Command, _ []string) error {
			want := a.subscription
			if want == "" {
				want = name
			}
			if err := require(need{"--subscription/-s/--name/-n", want}); err != nil {
				return err
			}
			return a.setSubscription(cmd.Context(), want)
		},
	})
	c.Flags().StringVarP(&name, "name", "n", "", "`name` or id of the subscription")
	c.Flags().StringVarP(&name, "subscription-name", "s", "", "same as --name")
	_ = c.Flags().MarkHidden("subscription-name")
	return c
}

func (a *app) setSubscription(ctx context.Context, want string) error {
	s, err := a.connect()
	if err != nil {
		return err
	}
	subs, err := s.subscriptions(ctx)
	if err != nil {
		return err
	}
	for _, sub := range subs {
		id, _ := sub["id"].(string)
		if !strings.EqualFold(id, want) && !strings.EqualFold(fmt.Sprint(sub["name"]), want) {
			continue
		}
		p, err := s.store.Stored()
		if err != nil {
			return err
		}
		p.Subscription = id
		if p.Endpoint == "" {
			return hint(fmt.Errorf("the login comes from the environment and is not stored"), "Set FAIRLEAD_SUBSCRIPTION instead, or run 'fairlead login'.")
		}
		return s.store.Save(p)
	}
	return hint(fmt.Errorf("the subscription %q doesn't exist in the control plane at %s", want, s.Endpoint()), "List them with 'fairlead account list -o table'.")
}

func (a *app) accountToken() *cobra.Command {
	var scope, resource, tenant string
	c := a.leaf(&cobra.Command{
		Use: "get-access-token", Short: "Get a token for calling the control plane",
		Example: `  curl -H "Authorization: Bearer $(fairlead account get-access-token --query accessToken -o tsv)" …`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.connect()
			if err != nil {
				return err
			}
			if _, err := s.token(cmd.Context(), false); err != nil {
				return err
			}
			t, _ := s.store.Token(s.profile)
			return a.print(map[string]any{
				"accessToken": t.AccessToken, "tokenType": "Bearer", "tenant": s.profile.Tenant, "subscription": s.sub,
				"expiresOn": t.ExpiresOn.Local().Format("2006-01-02 15:04:05.000000"), "expires_on": t.ExpiresOn.Truncate(time.Second).Unix(),
			})
		},
	})
	c.Flags().StringVar(&scope, "scope", "", "accepted for compatibility: the control plane has one audience")
	c.Flags().StringVar(&resource, "resource", "", "accepted for compatibility, as --scope")
	c.Flags().StringVarP(&tenant, "tenant", "t", "", "accepted for compatibility: the login's tenant is used")
	return c
}

// text reads a string at a path of nested objects; "" when it is not there.
func text(m map[string]any, path ...string) string {
	var v any = m
	for _, k := range path {
		o, ok := v.(map[string]any)
		if !ok {
			return ""
		}
		v = o[k]
	}
	s, _ := v.(string)
	return s
}

// sub reads an object at a path of nested objects; empty when it is not there.
func sub(m map[string]any, path ...string) map[string]any {
	for _, k := range path {
		m, _ = m[k].(map[string]any)
	}
	return m
}

// objectID is who the token speaks for, as role assignments name it; "" when the token does not say.
func (s *session) objectID() string {
	t, _ := s.store.Token(s.profile)
	return client.ObjectID(t.AccessToken)
}
