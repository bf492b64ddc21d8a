package identity

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/manager"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/internal/cluster/component"
)

// AddProxy has a manager, whose scheme has the kinds of v1alpha1, run a Proxy on an address. The control plane's own address is read from
// a folder as component.Link does.
func AddProxy(mgr manager.Manager, addr, linkDir string, log *slog.Logger) error {
	endpoint, err := os.ReadFile(filepath.Join(linkDir, component.KeyEndpoint))
	if err != nil {
		return fmt.Errorf("reading the control plane's address: %w", err)
	}
	target, dial, err := Way(strings.TrimSpace(string(endpoint)), http.ProxyFromEnvironment)
	if err != nil {
		return err
	}
	serves := make(chan struct{})
	if err := mgr.AddReadyzCheck("serves", func(*http.Request) error {
		select {
		case <-serves:
			return nil
		default:
			return errors.New("starting")
		}
	}); err != nil {
		return fmt.Errorf("adding a probe: %w", err)
	}
	p := NewProxy(ProxyConfig{Client: mgr.GetClient(), Target: target, Dial: dial, Log: log})
	return mgr.Add(manager.RunnableFunc(func(ctx context.Context) error {
		if _, err := mgr.GetCache().GetInformer(ctx, &v1alpha1.Identity{}); err != nil { // so that the first pod need not wait
			return fmt.Errorf("reading Identities: %w", err)
		}
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
		if err != nil {
			return fmt.Errorf("listening for pods on %s: %w", addr, err)
		}
		close(serves)
		return p.Serve(ctx, l)
	}))
}
