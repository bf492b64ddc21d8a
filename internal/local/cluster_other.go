//go:build unix && !linux

package local

import (
	"context"
	"errors"
	"fmt"
	"io"

	"fairlead.dev/fairlead/internal/local/hostpkg"
	"fairlead.dev/fairlead/internal/local/supervisor"
)

const tierServer = 0

var errLinux = errors.New("the local cluster needs Linux; a cluster you have works on any machine: fairlead up --kubeconfig PATH")

func checkMachine(ctx context.Context, out io.Writer) error {
	return hostpkg.ThisHost().Ensure(ctx, hostpkg.Run(), out)
}

func makeImages(context.Context, []string, io.Writer) ([]string, error) { return nil, errLinux }

func (o Options) firstTime(c *Config) error {
	if o.Kubeconfig == "" {
		return errLinux
	}
	if c.PublicURL == "" {
		c.PublicURL = fmt.Sprintf("https://%s:%d", outboundIP(), c.Port)
	}
	return nil
}

func (r *runner) steps() ([]supervisor.Step, error) {
	if !r.config.External() {
		return nil, errLinux
	}
	if r.config.Server == "" {
		return nil, nil
	}
	return []supervisor.Step{r.serverStep()}, nil
}

func clusterDown(context.Context, Folder, Config) []downStep { return nil }

// LoadImages is for own clusters only.
func LoadImages(context.Context, Folder, []string, io.Writer) error { return errLinux }
