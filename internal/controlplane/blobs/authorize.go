package blobs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types/runstate"
)

const workspaceType = "microsoft.machinelearningservices/workspaces"

// AccountName is the storage account name of a workspace, from its Key.
func AccountName(workspaceKey string) string {
	sum := sha256.Sum256([]byte(strings.ToLower(workspaceKey)))
	return "fl" + hex.EncodeToString(sum[:])[:12]
}

// Split takes an address of the blob front apart; ok is false for other addresses.
func Split(address string) (account, container, name string, ok bool) {
	u, err := url.Parse(address)
	if err != nil {
		return "", "", "", false
	}
	at := strings.Index(u.EscapedPath(), PathPrefix)
	if at < 0 {
		return "", "", "", false
	}
	n, err := parsePath(strings.TrimSuffix(u.EscapedPath()[at:], "/"))
	return n.account, n.container, n.name, err == nil
}

// Authorizer decides over the resources of a store: a run reads its workspace's account and writes its own artifacts and
// declared outputs; anyone else needs "read" or "write" on the workspace that the account belongs to.
type Authorizer struct {
	store store.Reader
	allow func(ctx context.Context, p resource.Principal, permission, scopeKey string) error
	clock func() time.Time

	mu       sync.Mutex
	accounts map[string]string // account → workspace Key
	readAt   time.Time
}

// NewAuthorizer makes an Authorizer; allow is the role check on a scope's Key. A nil clock is time.Now.
func NewAuthorizer(s store.Reader, allow func(ctx context.Context, p resource.Principal, permission, scopeKey string) error,
	clock func() time.Time) *Authorizer {
	if clock == nil {
		clock = time.Now
	}
	return &Authorizer{store: s, allow: allow, clock: clock}
}

// Authorize is an AuthorizeFunc.
func (a *Authorizer) Authorize(ctx context.Context, p resource.Principal, account, container, name string, write bool) error {
	if p.Kind == "Run" {
		return a.authorizeRun(ctx, p, blobName{account, container, name}, write)
	}
	if p.Kind == "Agent" || p.Kind == "Extension" {
		return fmt.Errorf("a token of kind %s does not reach blobs", p.Kind)
	}
	workspace, err := a.workspaceOf(ctx, account)
	if err != nil {
		return err
	}
	permission := "read"
	if write {
		permission = "write"
	}
	return a.allow(ctx, p, permission, workspace)
}

func (a *Authorizer) authorizeRun(ctx context.Context, p resource.Principal, n blobName, write bool) error {
	rec, err := a.store.Get(ctx, p.Scope)
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("run %s does not exist any more", p.Scope)
	}
	if err != nil {
		return fmt.Errorf("reading run %s: %w", p.Scope, err)
	}
	state, err := runstate.Decode(rec)
	if err != nil {
		return err
	}
	own, _, _, ok := Split(state.Spec.Artifacts)
	if !ok || own != n.account {
		return fmt.Errorf("run %s reads account %s only, not %s", rec.Name, own, n.account)
	}
	if !write {
		return nil
	}
	folders := []string{state.Spec.Artifacts}
	for _, o := range state.Spec.Outputs {
		folders = append(folders, o.URL)
	}
	for _, folder := range folders {
		if within(folder, n) {
			return nil
		}
	}
	return fmt.Errorf("run %s writes only below its artifacts and its declared outputs, not to %s", rec.Name, n)
}

// within reports whether n is the blob at an address or one below it; never a whole container.
func within(address string, n blobName) bool {
	account, container, name, ok := Split(address)
	return ok && name != "" && account == n.account && container == n.container && (n.name == name || strings.HasPrefix(n.name, name+"/"))
}

// workspaceOf finds the workspace of an account. Workspaces are read again, at most once a second, when a name is not known.
func (a *Authorizer) workspaceOf(ctx context.Context, account string) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if key, ok := a.accounts[account]; ok {
		return key, nil
	}
	if now := a.clock(); a.accounts == nil || now.Sub(a.readAt) >= time.Second {
		if err := a.readAccounts(ctx); err != nil {
			return "", err
		}
		a.readAt = now
	}
	if key, ok := a.accounts[account]; ok {
		return key, nil
	}
	return "", fmt.Errorf("no workspace has the storage account %q", account)
}

func (a *Authorizer) readAccounts(ctx context.Context) error {
	accounts := make(map[string]string)
	for q := (store.Query{Type: workspaceType, AnyParent: true, IncludeArchived: true, Limit: 1000}); ; {
		recs, err := a.store.List(ctx, q)
		if err != nil {
			return fmt.Errorf("listing workspaces: %w", err)
		}
		for _, r := range recs {
			accounts[AccountName(r.Key)] = r.Key
		}
		if len(recs) < q.Limit {
			a.accounts = accounts
			return nil
		}
		q.After = recs[len(recs)-1].Seq
	}
}
