// Package hostdevice is k8s-host-device-plugin: it hands out a device of the node, such as /dev/fuse, to containers that ask for a
// resource, so that they need not be privileged to open it. Such a device can be opened any number of times; the kubelet counts all
// the same, so it is offered more often than a node has pods.
package hostdevice

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	plugin "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

// Config is one device.
type Config struct {
	// Device is its path, Resource the name by which containers ask for it, Count how often it is offered.
	Device, Resource string
	Count            int
	// HostRoot is where the node's folders are seen; "" means that they are at their own paths.
	HostRoot string
	// PluginDir is the kubelet's folder of device plugins.
	PluginDir string
	// Check is how often is looked whether the device is there and the kubelet still the one that was registered with; default 2 s.
	Check time.Duration
	Log   *slog.Logger
}

var resourceName = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?/[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$`)

// Validate says what is wrong.
func (c Config) Validate() error {
	switch {
	case !filepath.IsAbs(c.Device):
		return fmt.Errorf("--device is %q; it must be the absolute path of a device, such as /dev/fuse", c.Device)
	case !resourceName.MatchString(c.Resource):
		return fmt.Errorf("--resource is %q; it must be <domain>/<name>, such as fairlead.dev/fuse", c.Resource)
	case c.Count < 1 || c.Count > 100_000:
		return fmt.Errorf("--count is %d; it must be from 1 to 100000", c.Count)
	}
	return nil
}

// Run offers the device until ctx ends. A kubelet that starts again forgets its plugins and empties their folder, so the plugin
// comes again when its socket is gone or the kubelet's is another.
func Run(ctx context.Context, cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	if cfg.Check == 0 {
		cfg.Check = 2 * time.Second
	}
	for ctx.Err() == nil {
		if err := offer(ctx, cfg); err != nil && ctx.Err() == nil {
			cfg.Log.Warn("not offered; trying again", "device", cfg.Device, "error", err)
		}
		sleep(ctx, cfg.Check)
	}
	return ctx.Err()
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// offer registers with the kubelet and serves until it is another one.
func offer(ctx context.Context, cfg Config) error {
	kubelet := filepath.Join(cfg.PluginDir, filepath.Base(plugin.KubeletSocket))
	before, err := os.Stat(kubelet)
	if err != nil {
		return fmt.Errorf("looking for the kubelet: %w", err)
	}
	socket := filepath.Join(cfg.PluginDir, "fairlead-"+filepath.Base(cfg.Device)+".sock")
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing the socket of before: %w", err)
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", socket)
	if err != nil {
		return fmt.Errorf("listening for the kubelet: %w", err)
	}
	served, cancel := context.WithCancel(ctx)
	defer cancel()
	s := grpc.NewServer()
	plugin.RegisterDevicePluginServer(s, &server{cfg: cfg, ctx: served})
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	defer s.Stop()
	defer cancel() // streams end before the server waits for them
	if err := register(ctx, kubelet, cfg, filepath.Base(socket)); err != nil {
		return err
	}
	cfg.Log.Info("offered", "device", cfg.Device, "resource", cfg.Resource, "count", cfg.Count)
	for sameKubelet(kubelet, socket, before) {
		select {
		case err := <-done:
			return err
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(cfg.Check):
		}
	}
	return errors.New("the kubelet has started again")
}

func sameKubelet(kubelet, socket string, before fs.FileInfo) bool {
	now, err := os.Stat(kubelet)
	_, own := os.Stat(socket)
	return err == nil && own == nil && os.SameFile(before, now) && before.ModTime().Equal(now.ModTime())
}

func register(ctx context.Context, kubelet string, cfg Config, endpoint string) error {
	conn, err := grpc.NewClient("unix://"+kubelet, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return fmt.Errorf("reaching the kubelet: %w", err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	_, err = plugin.NewRegistrationClient(conn).Register(ctx, &plugin.RegisterRequest{
		Version: plugin.Version, Endpoint: endpoint, ResourceName: cfg.Resource,
	})
	if err != nil {
		return fmt.Errorf("registering with the kubelet: %w", err)
	}
	return nil
}

// server answers the kubelet.
type server struct {
	plugin.UnimplementedDevicePluginServer
	cfg Config
	ctx context.Context
}

// GetDevicePluginOptions implements DevicePluginServer.
func (s *server) GetDevicePluginOptions(context.Context, *plugin.Empty) (*plugin.DevicePluginOptions, error) {
	return &plugin.DevicePluginOptions{}, nil
}

// ListAndWatch implements DevicePluginServer: all of them are healthy while the node has the device.
func (s *server) ListAndWatch(_ *plugin.Empty, stream grpc.ServerStreamingServer[plugin.ListAndWatchResponse]) error {
	told := ""
	for {
		if health := s.health(); health != told {
			if err := stream.Send(s.list(health)); err != nil {
				return err
			}
			told = health
		}
		select {
		case <-s.ctx.Done():
			return nil
		case <-stream.Context().Done():
			return nil
		case <-time.After(s.cfg.Check):
		}
	}
}

func (s *server) health() string {
	if fi, err := os.Stat(filepath.Join("/", s.cfg.HostRoot, s.cfg.Device)); err != nil || fi.Mode()&fs.ModeDevice == 0 {
		return plugin.Unhealthy
	}
	return plugin.Healthy
}

func (s *server) list(health string) *plugin.ListAndWatchResponse {
	r := &plugin.ListAndWatchResponse{}
	for i := range s.cfg.Count {
		r.Devices = append(r.Devices, &plugin.Device{ID: strconv.Itoa(i), Health: health})
	}
	return r
}

// Allocate implements DevicePluginServer: however many a container asks for, it gets the one device.
func (s *server) Allocate(_ context.Context, q *plugin.AllocateRequest) (*plugin.AllocateResponse, error) {
	r := &plugin.AllocateResponse{}
	for range q.GetContainerRequests() {
		r.ContainerResponses = append(r.ContainerResponses, &plugin.ContainerAllocateResponse{
			Devices: []*plugin.DeviceSpec{{HostPath: s.cfg.Device, ContainerPath: s.cfg.Device, Permissions: "rw"}},
		})
	}
	return r, nil
}
