// Package kubeconf puts a connected cluster into a kubeconfig and takes it out again, and touches nothing else in the file.
package kubeconf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"fairlead.dev/fairlead/api/hybridkubernetes"
)

// Entry is a cluster with one user and one context.
type Entry struct {
	// Context names the context and the cluster, User the user.
	Context, User string
	Cluster       *api.Cluster
	Auth          *api.AuthInfo
}

// Parse reads the kubeconfig that the control plane answers with.
func Parse(text []byte) (Entry, error) {
	c, err := clientcmd.Load(text)
	if err != nil {
		return Entry{}, fmt.Errorf("reading the control plane's kubeconfig: %w", err)
	}
	ctx := c.Contexts[c.CurrentContext]
	if ctx == nil || c.Clusters[ctx.Cluster] == nil || c.AuthInfos[ctx.AuthInfo] == nil {
		return Entry{}, errors.New("reading the control plane's kubeconfig: its current context is not complete")
	}
	return Entry{Context: c.CurrentContext, User: ctx.AuthInfo, Cluster: c.Clusters[ctx.Cluster], Auth: c.AuthInfos[ctx.AuthInfo]}, nil
}

// Text is a kubeconfig with the entry alone.
func (e Entry) Text() ([]byte, error) {
	c := api.NewConfig()
	e.set(c)
	return clientcmd.Write(*c)
}

func (e Entry) set(c *api.Config) {
	c.Clusters[e.Context], c.AuthInfos[e.User] = e.Cluster, e.Auth
	c.Contexts[e.Context] = &api.Context{Cluster: e.Context, AuthInfo: e.User}
	c.CurrentContext = e.Context
}

// File is a kubeconfig to change; "" is the one that kubectl uses (KUBECONFIG, then ~/.kube/config).
type File string

func (f File) options() *clientcmd.PathOptions {
	o := clientcmd.NewDefaultPathOptions()
	o.LoadingRules.ExplicitPath = string(f)
	return o
}

// Path is the file that Merge writes to.
func (f File) Path() string { return f.options().GetDefaultFilename() }

// Merge adds the entry, makes its context the current one, and lets nobody but the owner read the file. A context or cluster of the
// same name is replaced if it is of a connected cluster too, otherwise that is an error; a user that another context has is left to
// it. undo puts back what was there before, unless somebody else has changed it since.
func (f File) Merge(e Entry) (undo func() error, err error) {
	o := f.options()
	c, err := o.GetStartingConfig()
	if err != nil {
		return nil, fmt.Errorf("reading kubeconfig: %w", err)
	}
	if taken := taken(c, e.Context); taken != "" {
		return nil, fmt.Errorf("%s has a %s: choose another name with --kube-context, or another file with --file", f.Path(), taken)
	}
	for name, other := range c.Contexts {
		if name != e.Context && other.AuthInfo == e.User {
			e.User += "_" + e.Context
			break
		}
	}
	before := c.DeepCopy()
	e.set(c)
	if err := f.write(o, c); err != nil {
		return nil, err
	}
	return func() error { return f.restore(e, before) }, nil
}

// taken says what of that name is somebody else's; "" when nothing is.
func taken(c *api.Config, name string) string {
	ours := func(cluster string) bool {
		at := c.Clusters[cluster]
		return at != nil && strings.Contains(at.Server, hybridkubernetes.ConnectPath+"/")
	}
	if old := c.Clusters[name]; old != nil && !ours(name) {
		return fmt.Sprintf("cluster %q already, at %s", name, old.Server)
	}
	if old := c.Contexts[name]; old != nil && !ours(old.Cluster) {
		return fmt.Sprintf("context %q already, of cluster %q", name, old.Cluster)
	}
	return ""
}

// write closes a file that is there to others before anything secret is in it; a new one is made so.
func (f File) write(o *clientcmd.PathOptions, c *api.Config) error {
	info, err := os.Stat(f.Path())
	if err == nil && info.Mode().Perm()&0o077 != 0 {
		err = os.Chmod(f.Path(), info.Mode().Perm()&0o700)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("keeping kubeconfig from others' eyes: %w", err)
	}
	if err := clientcmd.ModifyConfig(o, *c, false); err != nil {
		return fmt.Errorf("writing kubeconfig: %w", err)
	}
	return nil
}

func (f File) restore(e Entry, before *api.Config) error {
	o := f.options()
	c, err := o.GetStartingConfig()
	if err != nil {
		return fmt.Errorf("reading kubeconfig: %w", err)
	}
	if now := c.Clusters[e.Context]; now == nil || now.Server != e.Cluster.Server {
		return nil
	}
	putBack(c.Clusters, before.Clusters, e.Context)
	putBack(c.AuthInfos, before.AuthInfos, e.User)
	putBack(c.Contexts, before.Contexts, e.Context)
	if c.CurrentContext == e.Context {
		c.CurrentContext = before.CurrentContext
	}
	return f.write(o, c)
}

func putBack[V any](now, before map[string]*V, name string) {
	if old, ok := before[name]; ok {
		now[name] = old
	} else {
		delete(now, name)
	}
}
