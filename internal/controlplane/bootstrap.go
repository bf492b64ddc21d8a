package controlplane

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/fairlead/internal/controlplane/authz"
	"fairlead.dev/fairlead/internal/controlplane/engine"
	"fairlead.dev/fairlead/internal/controlplane/issuer"
	"fairlead.dev/fairlead/internal/controlplane/store"
)

// AdminFile is the name, in the data folder, of the credentials that the first start makes.
const AdminFile = "admin.json"

// Admin is the content of AdminFile.
type Admin struct {
	TenantID       string `json:"tenantId"`
	ClientID       string `json:"clientId"`
	ClientSecret   string `json:"clientSecret"`
	SubscriptionID string `json:"subscriptionId"`
	Endpoint       string `json:"endpoint"`
	// CAFile is the authority that clients must trust; "" when public ones do.
	CAFile string `json:"caFile,omitempty"`
}

// The record that says what this installation is.
const (
	tenantKey  = "/internal/tenant"
	typeTenant = "fairlead.internal/tenants"
)

type tenant struct {
	TenantID       string `json:"tenantId"`
	SubscriptionID string `json:"subscriptionId"`
}

// bootstrap reads the tenant, or makes tenant, default subscription and administrator when the store is empty. The credentials
// are written before the transaction that makes them valid, so that no crash can lose them; made tells that this call made them.
func bootstrap(ctx context.Context, st store.Store, dir string, a Admin, now time.Time) (id string, made bool, err error) {
	t, err := readTenant(ctx, st)
	if err == nil || !errors.Is(err, store.ErrNotFound) {
		return t.TenantID, false, err
	}
	a.TenantID, a.ClientID, a.SubscriptionID = uuid.NewString(), uuid.NewString(), uuid.NewString()
	if a.ClientSecret, err = issuer.NewSecret(); err != nil {
		return "", false, err
	}
	raw, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		return "", false, fmt.Errorf("encoding %s: %w", AdminFile, err)
	}
	temp, err := writeTemp(dir, append(raw, '\n'))
	if err != nil {
		return "", false, err
	}
	defer os.Remove(temp)
	file, placed := filepath.Join(dir, AdminFile), false
	now = now.UTC().Truncate(time.Microsecond)
	err = st.Update(ctx, func(tx store.Tx) error {
		made = false
		if t, err = readTenant(ctx, tx); err == nil || !errors.Is(err, store.ErrNotFound) {
			return err // another replica was first
		}
		made = true
		t = tenant{a.TenantID, a.SubscriptionID}
		if err := firstRecords(ctx, tx, a, now); err != nil {
			return err
		}
		if placed {
			return nil
		}
		placed = true
		return os.Rename(temp, file)
	})
	if err != nil || !made {
		if placed {
			os.Remove(file) // it names an administrator that does not exist
		}
	}
	if err != nil {
		return "", false, fmt.Errorf("making the first administrator: %w", err)
	}
	return t.TenantID, made, nil
}

func firstRecords(ctx context.Context, tx store.Tx, a Admin, now time.Time) error {
	body, err := json.Marshal(tenant{a.TenantID, a.SubscriptionID})
	if err != nil {
		return fmt.Errorf("encoding tenant: %w", err)
	}
	sub := "/subscriptions/" + a.SubscriptionID
	for _, r := range []store.Record{
		{Key: tenantKey, ID: tenantKey, Type: typeTenant, Name: "tenant", Body: body},
		{Key: sub, ID: sub, Type: engine.TypeSubscription, Name: a.SubscriptionID, Body: json.RawMessage(`{"displayName":"Local"}`)},
	} {
		r.CreatedAt, r.UpdatedAt, r.CreatedBy, r.UpdatedBy = now, now, "fairlead", "fairlead"
		if _, err := tx.Put(ctx, r); err != nil {
			return fmt.Errorf("writing %s: %w", r.Key, err)
		}
	}
	secret, err := issuer.SecretCredential(a.ClientSecret, now, time.Time{})
	if err != nil {
		return err
	}
	sp, err := issuer.CreateServicePrincipal(ctx, tx, issuer.ServicePrincipal{ClientID: a.ClientID, DisplayName: "admin", Credentials: []issuer.Credential{secret}}, now)
	if err != nil {
		return err
	}
	return authz.AssignRoot(ctx, tx, sp.ObjectID, authz.Owner, now)
}

func readTenant(ctx context.Context, r store.Reader) (tenant, error) {
	rec, err := r.Get(ctx, tenantKey)
	if err != nil {
		return tenant{}, fmt.Errorf("reading tenant: %w", err)
	}
	var t tenant
	if err := json.Unmarshal(rec.Body, &t); err != nil {
		return t, fmt.Errorf("decoding tenant: %w", err)
	}
	return t, nil
}

// writeTemp writes a file of mode 0600 that Rename puts in its place.
func writeTemp(dir string, data []byte) (string, error) {
	f, err := os.CreateTemp(dir, ".admin-*")
	if err != nil {
		return "", fmt.Errorf("writing %s: %w", AdminFile, err)
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		os.Remove(f.Name())
		return "", fmt.Errorf("writing %s: %w", AdminFile, err)
	}
	return f.Name(), nil
}
