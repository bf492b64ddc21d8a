package csi

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"fairlead.dev/fairlead/internal/mountbroker"
)

// driver is what the kubelet calls.
type driver interface {
	csi.IdentityServer
	csi.NodeServer
}

// Run serves the drivers and registers them with the kubelet until ctx ends. The kubelet watches a folder for sockets of plugins, so that
// registering is a second socket and no further process is needed for it.
func Run(ctx context.Context, cfg Config) error {
	node, err := New(cfg)
	if err != nil {
		return err
	}
	defer node.Close()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return node.sweepModels(ctx) })
	for name, driver := range map[string]driver{mountbroker.Driver: node, mountbroker.ClaimDriver: &Claims{node: node}} {
		endpoint := filepath.Join(cfg.KubeletDir, "plugins", name, "csi.sock")
		group.Go(func() error {
			return serve(ctx, endpoint, func(s *grpc.Server) {
				csi.RegisterIdentityServer(s, driver)
				csi.RegisterNodeServer(s, driver)
			})
		})
		group.Go(func() error {
			return serve(ctx, filepath.Join(cfg.KubeletDir, "plugins_registry", name+"-reg.sock"), func(s *grpc.Server) {
				registration.RegisterRegistrationServer(s, &registrar{cfg: cfg, name: name, endpoint: endpoint})
			})
		})
	}
	return group.Wait()
}

// serve serves gRPC on a Unix socket, which it makes anew, until ctx ends.
func serve(ctx context.Context, socket string, register func(*grpc.Server)) error {
	if err := os.MkdirAll(filepath.Dir(socket), 0o750); err != nil {
		return fmt.Errorf("making the folder of a socket: %w", err)
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing the socket of before: %w", err)
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", socket)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	s := grpc.NewServer()
	register(s)
	defer context.AfterFunc(ctx, s.Stop)()
	if err := s.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serving on %s: %w", socket, err)
	}
	return ctx.Err()
}

// registrar tells the kubelet where the driver is.
type registrar struct {
	registration.UnimplementedRegistrationServer
	cfg            Config
	name, endpoint string
}

// GetInfo implements RegistrationServer.
func (r *registrar) GetInfo(context.Context, *registration.InfoRequest) (*registration.PluginInfo, error) {
	return &registration.PluginInfo{
		Type: registration.CSIPlugin, Name: r.name, Endpoint: r.endpoint, SupportedVersions: []string{"1.0.0"},
	}, nil
}

// NotifyRegistrationStatus implements RegistrationServer.
func (r *registrar) NotifyRegistrationStatus(_ context.Context, s *registration.RegistrationStatus) (*registration.RegistrationStatusResponse, error) {
	r.cfg.Log.Info("registered with the kubelet", "driver", r.name, "ok", s.GetPluginRegistered(), "error", s.GetError())
	return &registration.RegistrationStatusResponse{}, nil
}
