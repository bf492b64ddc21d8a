package agentinstall

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"fairlead.dev/fairlead/internal/cluster/extension"
)

// explainWait is how long Explain watches pods, which must be a little longer than one look.
const explainWait = 3 * time.Second

// Facts are what a cluster says of itself.
type Facts struct {
	KubernetesVersion string
	// UID is that of namespace kube-system: no two clusters have the same.
	UID string
}

// Inspect looks whether the cluster can be reached and the agent installed. The error of a user with too few rights is Forbidden.
func Inspect(ctx context.Context, o Options) (Facts, error) {
	config, kube, err := connect(o)
	if err != nil {
		return Facts{}, err
	}
	version, err := kube.Discovery().ServerVersion()
	if err != nil {
		return Facts{}, fmt.Errorf("asking %s for its version: %w", config.Host, err)
	}
	all := authorizationv1.ResourceAttributes{Verb: "*", Group: "*", Resource: "*"}
	review, err := kube.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
		Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &all}}, metav1.CreateOptions{})
	if err != nil {
		return Facts{}, fmt.Errorf("asking for the user's rights: %w", err)
	}
	if !review.Status.Allowed {
		return Facts{}, apierrors.NewForbidden(schema.GroupResource{Group: "*", Resource: "*"}, "*", fmt.Errorf("the user has not all rights"))
	}
	ns, err := kube.CoreV1().Namespaces().Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{})
	if err != nil {
		return Facts{}, fmt.Errorf("reading namespace %s: %w", metav1.NamespaceSystem, err)
	}
	return Facts{KubernetesVersion: strings.TrimPrefix(version.GitVersion, "v"), UID: string(ns.UID)}, nil
}

// Explain says why the agent does not run; nil when it does.
func Explain(ctx context.Context, o Options) error {
	_, kube, err := connect(o)
	if err != nil {
		return err
	}
	return extension.WaitReady(ctx, kube, Namespace, Release, explainWait, func(string) {})
}

// fromData is the configuration of a kubeconfig that somebody else sent. It reaches no address of the machine's own link.
func fromData(data []byte) (*rest.Config, error) {
	config, err := clientcmd.RESTConfigFromKubeConfig(data)
	if err != nil {
		return nil, err
	}
	config.Timeout = 30 * time.Second
	dialer := &net.Dialer{Timeout: 15 * time.Second, Control: func(_, address string, _ syscall.RawConn) error { return checkAddress(address) }}
	config.Dial = dialer.DialContext
	config.Proxy = func(*http.Request) (*url.URL, error) { return nil, nil } // through one of its own, checkAddress would see the proxy only
	return config, nil
}

// checkAddress refuses addresses at which no API server is, but machines have services that trust whoever reaches them.
func checkAddress(address string) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("reading address %q: %w", address, err)
	}
	if ip := at.Addr().Unmap(); ip.IsLinkLocalUnicast() || ip.IsMulticast() || ip.IsUnspecified() {
		return &net.AddrError{Err: "a cluster cannot be at a link-local, multicast or unspecified address", Addr: address}
	}
	return nil
}
