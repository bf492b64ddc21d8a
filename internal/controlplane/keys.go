package controlplane

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/issuer"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/seal"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types"
	"fairlead.dev/fairlead/internal/controlplane/types/agentkey"
	"fairlead.dev/fairlead/internal/controlplane/types/clusterstate"
	"fairlead.dev/fairlead/internal/controlplane/types/identity"
	"fairlead.dev/fairlead/internal/controlplane/types/runstate"
)

// sealedFor is the additional data of sealed record secrets: a secret of another use does not open as one of these.
var sealedFor = []byte("fairlead/record-secret")

// keyset is the data folder's symmetric keys.
type keyset struct {
	sas []byte
	box *seal.Box
}

func loadKeys(dir string) (keyset, error) {
	box, err := seal.LoadOrCreate(filepath.Join(dir, "seal.key"))
	if err != nil {
		return keyset{}, fmt.Errorf("loading key of stored secrets: %w", err)
	}
	sas, err := loadOrMake(filepath.Join(dir, "sas.key"))
	if err != nil {
		return keyset{}, fmt.Errorf("loading key of blob signatures: %w", err)
	}
	return keyset{sas: sas, box: box}, nil
}

func (k keyset) seal(plain []byte) ([]byte, error)  { return k.box.Seal(plain, sealedFor), nil }
func (k keyset) open(sealed []byte) ([]byte, error) { return k.box.Open(sealed, sealedFor) }

// loadOrMake reads 32 random bytes, made by whoever comes first.
func loadOrMake(file string) ([]byte, error) {
	key, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		if err := makeFile(file); err != nil && !errors.Is(err, os.ErrExist) {
			return nil, err
		}
		key, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, err
	}
	if len(key) < 32 {
		return nil, fmt.Errorf("%s has %d bytes; at least 32 are needed", file, len(key))
	}
	return key, nil
}

func makeFile(file string) error {
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return fmt.Errorf("making key: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(file), ".key-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(key)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Link(f.Name(), file)
}

// agentKeys finds the key that was registered when a cluster was connected, or its agent installed.
func agentKeys(st store.Store) issuer.KeyLookup {
	return func(ctx context.Context, clientID string) (issuer.Agent, error) {
		id, err := arm.ParseID(clientID)
		if err != nil || !clusterstate.IsCluster(id.Type()) {
			return issuer.Agent{}, store.ErrNotFound
		}
		rec, err := st.Get(ctx, id.Key())
		if err != nil {
			return issuer.Agent{}, err
		}
		var body struct {
			Properties struct {
				Key string `json:"agentPublicKeyCertificate"`
			} `json:"properties"`
		}
		if err := json.Unmarshal(rec.Body, &body); err != nil {
			return issuer.Agent{}, fmt.Errorf("decoding %s: %w", rec.Key, err)
		}
		texts := []string{body.Properties.Key}
		if rec.Type == clusterstate.ManagedType {
			state, err := types.ManagedState(rec)
			if err != nil {
				return issuer.Agent{}, err
			}
			texts = append(texts, state.FormerKeys...)
		}
		agent := issuer.Agent{Scope: rec.Key, ScopeSeq: rec.Seq}
		for _, text := range texts {
			key, err := agentkey.Parse(text)
			if err != nil {
				return issuer.Agent{}, fmt.Errorf("key of %s %w", rec.Key, err)
			}
			if !key.NotAfter.IsZero() && time.Now().After(key.NotAfter) {
				return issuer.Agent{}, issuer.ErrExpired
			}
			agent.Keys = append(agent.Keys, key.Public)
		}
		return agent, nil
	}
}

// incarnation is the Seq of a cluster's record.
func (p *plane) incarnation(ctx context.Context, cluster string) (int64, error) {
	rec, err := p.store.Get(ctx, cluster)
	return rec.Seq, err
}

// fetchToken is the token by which a deployment's pods read model and code.
func (p *plane) fetchToken(ctx context.Context, key, id string, ttl time.Duration) (string, error) {
	return p.issuer.Issue(ctx, issuer.Claims{Subject: id, ClientID: id, Name: id, Kind: issuer.KindDeployment, Scope: key}, ttl)
}

// identityToken is a token of a managed identity that a compute carries.
func (p *plane) identityToken(ctx context.Context, id identity.Identity, compute store.Record, ttl time.Duration) (string, error) {
	return p.issuer.Issue(ctx, identity.Claims(id, compute), ttl)
}

// endpointToken is a caller's token for an online endpoint.
func (p *plane) endpointToken(ctx context.Context, who resource.Principal, audience string, ttl time.Duration) (string, error) {
	return p.issuer.Issue(ctx, issuer.Claims{Subject: who.ID, ClientID: who.ID, Name: who.Name, Kind: who.Kind, Audience: audience}, ttl)
}

// tokenKeys are how the routers of clusters verify such tokens.
func (p *plane) tokenKeys() (name, jwks string, err error) {
	jwks, err = p.issuer.KeySet()
	return p.issuer.Name(), jwks, err
}

// runToken is the token that a run's pods use.
func (p *plane) runToken(ctx context.Context, jobKey, jobID string, ttl time.Duration) (string, error) {
	return p.issuer.Issue(ctx, issuer.Claims{Subject: runstate.PrincipalID(jobKey, jobID), ClientID: jobID, Name: jobID, Kind: issuer.KindRun, Scope: jobKey}, ttl)
}
