package routerbench

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/internal/router/routertest"
	"fairlead.dev/fairlead/internal/testing/kubetest"
)

// cluster is a real API server with the endpoint "one": key, limits and a 90/10 split.
func cluster(b *testing.B, c config) *kubetest.Cluster {
	b.Helper()
	k := kubetest.Start(b)
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{apiextensionsv1.AddToScheme, discoveryv1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			b.Fatal(err)
		}
	}
	api, err := client.New(k.Config, client.Options{Scheme: scheme})
	if err != nil {
		b.Fatal(err)
	}
	for _, file := range []string{"amlarc.azureml.com_onlineendpoints.yaml", "amlarc.azureml.com_onlinedeployments.yaml"} {
		var crd apiextensionsv1.CustomResourceDefinition
		text, err := os.ReadFile("../../charts/azureml/crds/" + file)
		if err == nil {
			err = yaml.Unmarshal(text, &crd)
		}
		if err == nil {
			err = api.Create(b.Context(), &crd)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	objects := []client.Object{routertest.Endpoint("one", "blue=90 green=10")}
	for name, addr := range map[string]string{"blue": c.Blue, "green": c.Green} {
		d := routertest.Deployment("one", name)
		d.Spec.Requests.MaxConcurrentPerInstance = 1000
		objects = append(objects, d)
		for _, s := range routertest.Slices("one", name, addr) {
			objects = append(objects, s)
		}
	}
	for _, o := range objects {
		o.SetNamespace(metav1.NamespaceDefault)
		wait(b, func() error { o.SetResourceVersion(""); return api.Create(b.Context(), o) })
	}
	return k
}

// wait tries until something works.
func wait(b *testing.B, what func() error) {
	b.Helper()
	var err error
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if err = what(); err == nil {
			return
		}
	}
	b.Fatal(err)
}

// ours is the real program, following that cluster with everything on that is on in one.
func ours(b *testing.B, c config, k *kubetest.Cluster) *os.Process {
	b.Helper()
	bin, _ := filepath.Abs("../../bin/fairlead-router")
	inside := net.JoinHostPort(c.Host, port(b))
	p := run(b, ourName, 0, nil, bin, "-http-addr", c.HTTP, "-https-addr", c.HTTPS, "-internal-addr", inside, "-tls-dir", c.Dir, "-kubeconfig", k.Kubeconfig,
		"-cpu-profile", *profile, "-grace", "100ms")
	wait(b, func() error {
		res, err := http.Get("http://" + inside + "/readyz")
		if err == nil {
			err = res.Body.Close()
		}
		return err
	})
	return p
}

// freeze stops etcd and the API server, which the router needs for nothing while it serves, so that they do not disturb.
func freeze(k *kubetest.Cluster) {
	for _, pid := range k.Processes {
		_ = syscall.Kill(pid, syscall.SIGSTOP)
	}
}

// endProfile ends the router, so that its profile is whole.
func endProfile(b *testing.B, all []target) {
	b.Helper()
	for _, t := range all {
		if t.name != ourName || *profile == "" {
			continue
		}
		_ = syscall.Kill(t.pid, syscall.SIGTERM)
		wait(b, func() error {
			if fields := fieldsOf(fmt.Sprintf("/proc/%d/stat", t.pid)); len(fields) > 0 && fields[0] != "Z" {
				return errors.New("the router has not ended")
			}
			return nil
		})
	}
}
