package hostdevice

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	plugin "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

// kubelet is the registry of a kubelet.
type kubelet struct {
	plugin.UnimplementedRegistrationServer
	dir        string
	registered chan *plugin.RegisterRequest
}

// Register implements plugin.RegistrationServer.
func (k *kubelet) Register(_ context.Context, q *plugin.RegisterRequest) (*plugin.Empty, error) {
	k.registered <- q
	return &plugin.Empty{}, nil
}

// start begins with an empty folder, as a kubelet does.
func (k *kubelet) start(t *testing.T) (stop func()) {
	t.Helper()
	old, err := filepath.Glob(k.dir + "/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range old {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.Listen("unix", filepath.Join(k.dir, "kubelet.sock"))
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	plugin.RegisterRegistrationServer(s, k)
	go func() { _ = s.Serve(l) }()
	return s.Stop
}

func (k *kubelet) await(t *testing.T) plugin.DevicePluginClient {
	t.Helper()
	select {
	case q := <-k.registered:
		if q.GetResourceName() != "fairlead.dev/fuse" || q.GetVersion() != plugin.Version {
			t.Errorf("registered %v", q)
		}
		conn, err := grpc.NewClient("unix://"+filepath.Join(k.dir, q.GetEndpoint()), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return plugin.NewDevicePluginClient(conn)
	case <-time.After(30 * time.Second):
		t.Fatal("the plugin did not register")
		return nil
	}
}

func TestTheDeviceIsOfferedToEveryKubelet(t *testing.T) {
	dir, err := os.MkdirTemp("", "plugins") // short, as addresses of sockets must be
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	root := filepath.Join(dir, "host")
	if err := os.MkdirAll(filepath.Join(root, "dev"), 0o700); err != nil {
		t.Fatal(err)
	}
	device := filepath.Join(root, "dev", "fuse")
	k := &kubelet{dir: filepath.Join(dir, "k"), registered: make(chan *plugin.RegisterRequest, 8)}
	if err := os.Mkdir(k.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- Run(ctx, Config{Device: "/dev/fuse", Resource: "fairlead.dev/fuse", Count: 3, PluginDir: k.dir, HostRoot: root,
			Check: 5 * time.Millisecond, Log: slog.New(slog.DiscardHandler)})
	}()
	stop := k.start(t)
	client := k.await(t)
	watch, err := client.ListAndWatch(t.Context(), &plugin.Empty{})
	if err != nil {
		t.Fatal(err)
	}
	wantList(t, watch, plugin.Unhealthy) // the node has no such device yet
	if err := os.Symlink("/dev/null", device); err != nil {
		t.Fatal(err)
	}
	wantList(t, watch, plugin.Healthy)
	got, err := client.Allocate(t.Context(), &plugin.AllocateRequest{ContainerRequests: []*plugin.ContainerAllocateRequest{{DevicesIds: []string{"0", "1"}}, {}}})
	if err != nil || len(got.GetContainerResponses()) != 2 {
		t.Fatalf("%v, %v", got, err)
	}
	devices := got.GetContainerResponses()[0].GetDevices()
	if len(devices) != 1 || devices[0].GetHostPath() != "/dev/fuse" || devices[0].GetContainerPath() != "/dev/fuse" || devices[0].GetPermissions() != "rw" {
		t.Errorf("devices %v", devices)
	}
	stop()
	defer k.start(t)()
	k.await(t)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
}

func wantList(t *testing.T, watch grpc.ServerStreamingClient[plugin.ListAndWatchResponse], health string) {
	t.Helper()
	r, err := watch.Recv()
	if err != nil {
		t.Fatal(err)
	}
	if len(r.GetDevices()) != 3 || r.GetDevices()[2].GetHealth() != health {
		t.Errorf("list %v, want 3 that are %s", r, health)
	}
}

func TestConfig(t *testing.T) {
	for want, c := range map[string]Config{
		"--device is":   {Device: "dev/fuse", Resource: "a.b/c", Count: 1},
		"--resource is": {Device: "/dev/fuse", Resource: "fuse", Count: 1},
		"--count is":    {Device: "/dev/fuse", Resource: "a.b/c"},
	} {
		if err := Run(t.Context(), c); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
