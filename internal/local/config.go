package local

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"fairlead.dev/fairlead/internal/local/cache"
	"fairlead.dev/fairlead/internal/local/component"
	"fairlead.dev/fairlead/internal/local/netplan"
	"fairlead.dev/fairlead/internal/local/supervisor"
)

// Options are what `fairlead up` was asked for. Zero values mean: as the cluster was, or the default.
type Options struct {
	Folder Folder
	Nodes  int
	// CIDR is the /16 to use; "" takes the first free one.
	CIDR string
	// Internet lets nodes and pods reach what the machine reaches.
	Internet bool
	// Server is the program to run as `PROGRAM server …`; "" starts only the cluster.
	Server string
	// Port is where the control plane listens.
	Port int
	// PublicURL is the control plane's address as others reach it; only with Kubeconfig, where it cannot be known.
	PublicURL string
	// Kubeconfig, if set, is the existing cluster to use instead of an own one.
	Kubeconfig string
	// Images are names of Debian images or paths of archives to load besides the usual ones.
	Images []string
	// Components is where the programs of the cluster are; BinDir where Fairlead's own are.
	Components []string
	BinDir     string
}

// DefaultPort is the control plane's port.
const DefaultPort = 8440

// Config is what a cluster was brought up with; it is kept in the data folder.
type Config struct {
	Nodes      int             `json:"nodes"`
	Plan       netplan.Plan    `json:"plan"`
	Internet   bool            `json:"internet"`
	Server     string          `json:"server,omitempty"`
	Port       int             `json:"port"`
	PublicURL  string          `json:"publicUrl,omitempty"`
	Kubeconfig string          `json:"kubeconfig,omitempty"`
	Images     []string        `json:"images,omitempty"`
	Components string          `json:"components,omitempty"`
	BinDir     string          `json:"binDir,omitempty"`
	CacheDir   string          `json:"cacheDir"`
	Machine    json.RawMessage `json:"machine,omitempty"`    // as it was before the first start
	Executable string          `json:"executable,omitempty"` // this program
	// Stamps tell a rebuilt program from the one that runs.
	Stamps map[string]string `json:"stamps"`
}

// External says whether the cluster is someone else's.
func (c Config) External() bool { return c.Kubeconfig != "" }

// URL is the control plane's public address.
func (c Config) URL() string {
	if c.PublicURL != "" {
		return c.PublicURL
	}
	return "https://" + netip.AddrPortFrom(c.Plan.Host(), uint16(c.Port)).String()
}

// Loopback says that the public URL reaches no further than this machine, so that nothing else needs to be listened on.
func (c Config) Loopback() bool {
	u, err := url.Parse(c.URL())
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() == "localhost" || err == nil && ip.IsLoopback()
}

// API is the address of the Kubernetes API of an own cluster.
func (c Config) API() string { return "https://" + c.Plan.Node(0).String() + ":6443" }

// NodeNames are the nodes' names.
func (c Config) NodeNames() []string {
	var out []string
	for i := range c.Nodes {
		out = append(out, NodeName(i))
	}
	return out
}

func (c Config) hash() string {
	data, err := json.Marshal(c)
	if err != nil {
		return ""
	}
	return hashText(data)
}

// LoadConfig reads the configuration of a data folder; ErrNone if there is no cluster in it.
func LoadConfig(f Folder) (Config, error) {
	var c Config
	data, err := os.ReadFile(f.configFile())
	if errors.Is(err, fs.ErrNotExist) {
		return c, fmt.Errorf("%w in %s; start one with `fairlead up`", ErrNone, f)
	}
	if err != nil {
		return c, fmt.Errorf("reading the local cluster's configuration: %w", err)
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return c, fmt.Errorf("reading the local cluster's configuration %s: %w", f.configFile(), err)
	}
	return c, nil
}

// ErrNone: there is no local cluster; the caller says how to start one.
var ErrNone = errors.New("no local cluster")

// configure lays what was asked for over what the cluster was.
func (o Options) configure(old Config, exists bool) (Config, error) {
	c := old
	if exists && old.External() != (o.Kubeconfig != "") {
		return c, fmt.Errorf("data folder %s belongs to a control plane %s: run `fairlead down` first, or name another with --data-dir",
			o.Folder, map[bool]string{true: "beside an existing cluster", false: "with its own cluster"}[old.External()])
	}
	if o.Nodes < 0 || o.Nodes > netplan.MaxNodes {
		return c, fmt.Errorf("--nodes %d: want 1 to %d", o.Nodes, netplan.MaxNodes)
	}
	if exists && o.Nodes > 0 && o.Nodes < old.Nodes {
		return c, fmt.Errorf("--nodes %d: the cluster has %d nodes and only grows; run `fairlead down` first", o.Nodes, old.Nodes)
	}
	if c.Nodes = max(o.Nodes, old.Nodes); c.Nodes == 0 {
		c.Nodes = 1
	}
	if o.Port != 0 {
		c.Port = o.Port
	} else if c.Port == 0 {
		c.Port = freePort(DefaultPort, isFree)
	}
	c.Internet, c.Server = o.Internet, o.Server
	for _, name := range o.Images {
		if !slices.Contains(c.Images, name) {
			c.Images = append(slices.Clone(c.Images), name)
		}
	}
	if o.PublicURL != "" {
		c.PublicURL = o.PublicURL
	}
	if o.Kubeconfig != "" {
		abs, err := filepath.Abs(o.Kubeconfig)
		if err != nil {
			return c, err
		}
		if _, err := os.Stat(abs); err != nil {
			return c, fmt.Errorf("--kubeconfig: %w", err)
		}
		c.Kubeconfig = abs
	}
	return c, o.locate(&c)
}

// freePort is the first of the ten ports from first on that nothing listens on, or first if all are taken.
func freePort(first int, free func(int) bool) int {
	for p := first; p < first+10; p++ {
		if free(p) {
			return p
		}
	}
	return first
}

func isFree(port int) bool {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return false
	}
	return l.Close() == nil
}

// locate finds programs and the cache, and stamps the programs.
func (o Options) locate(c *Config) error {
	var err error
	if c.CacheDir, err = cache.Dir(); err != nil {
		return err
	}
	if c.Executable, err = os.Executable(); err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	c.BinDir = o.BinDir
	stamped := []string{c.Executable}
	if c.Server != "" {
		stamped = append(stamped, c.Server)
	}
	if !c.External() {
		set, err := component.Find(o.Components...)
		if err != nil {
			return err
		}
		c.Components = set.Dir
		for _, n := range component.Names() {
			stamped = append(stamped, set.Path(n))
		}
		for _, n := range []string{"fairlead-agent", "fairlead-router", "fairlead-runtime"} {
			stamped = append(stamped, filepath.Join(o.BinDir, n))
		}
	}
	c.Stamps = map[string]string{}
	for _, path := range stamped {
		c.Stamps[path] = stamp(path)
	}
	return nil
}

// stamp changes when a file is replaced or rewritten; "" if there is none.
func stamp(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return ""
	}
	return strconv.FormatInt(info.Size(), 10) + "@" + strconv.FormatInt(info.ModTime().UnixNano(), 10)
}

func (c Config) save(f Folder) error {
	if err := supervisor.WriteJSON(f.configFile(), c); err != nil {
		return fmt.Errorf("writing the local cluster's configuration: %w", err)
	}
	return nil
}

// plan chooses the addresses of a new cluster.
func (o Options) plan(used []netip.Prefix) (netplan.Plan, error) {
	if o.CIDR != "" {
		return netplan.Parse(o.CIDR)
	}
	return netplan.Choose(used)
}

func hashText(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8])
}
