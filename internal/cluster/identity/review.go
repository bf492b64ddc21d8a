package identity

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
)

// accountPrefix begins the user name of a service account; the claims are what Kubernetes says of a token that is bound to a pod.
const (
	accountPrefix = "system:serviceaccount:"
	claimPodName  = "authentication.kubernetes.io/pod-name"
	claimPodUID   = "authentication.kubernetes.io/pod-uid"
)

// pod is who asks.
type pod struct {
	// identity is namespace and name of its Identity.
	identity types.NamespacedName
	pod      string
}

// review asks the cluster whose token it is. Good is one that the kubelet made for a pod that is there, for this proxy and nobody else, of
// the account that was made for an Identity.
func (p *Proxy) review(ctx context.Context, token string) (pod, error) {
	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: []string{v1alpha1.IdentityProxy}}}
	if err := p.cfg.Client.Create(ctx, review); err != nil {
		return pod{}, fmt.Errorf("asking for a review of its token: %w", err)
	}
	who, err := podOf(review.Status)
	if err != nil {
		return pod{}, err
	}
	var id v1alpha1.Identity
	err = p.cfg.Client.Get(ctx, who.identity, &id)
	if client.IgnoreNotFound(err) != nil {
		return pod{}, fmt.Errorf("reading Identity %s: %w", who.identity, err)
	}
	return who, usable(&id, apierrors.IsNotFound(err), who, types.UID(review.Status.User.UID))
}

// podOf reads what the cluster says of a token.
func podOf(s authenticationv1.TokenReviewStatus) (pod, error) {
	if !s.Authenticated || !slices.Contains(s.Audiences, v1alpha1.IdentityProxy) {
		return pod{}, refuse(http.StatusProxyAuthRequired, "the token is not good, or not for audience %s", v1alpha1.IdentityProxy)
	}
	account, is := strings.CutPrefix(s.User.Username, accountPrefix)
	namespace, name, two := strings.Cut(account, ":")
	if !is || !two || namespace == "" || name == "" {
		return pod{}, refuse(http.StatusForbidden, "%s is no service account", s.User.Username)
	}
	names, uids := s.User.Extra[claimPodName], s.User.Extra[claimPodUID]
	if len(names) != 1 || len(uids) != 1 {
		return pod{}, refuse(http.StatusForbidden, "the token of service account %s/%s is bound to no pod", namespace, name)
	}
	return pod{types.NamespacedName{Namespace: namespace, Name: name}, names[0]}, nil
}

// usable refuses pods whose account has no Identity that is ready.
func usable(id *v1alpha1.Identity, missing bool, who pod, account types.UID) error {
	switch {
	case missing:
		return refuse(http.StatusForbidden, "pod %s of namespace %s has no managed identity: there is no Identity %s", who.pod, who.identity.Namespace, who.identity.Name)
	case !id.Usable():
		return refuse(http.StatusForbidden, "Identity %s is not ready: %s", who.identity, cmp.Or(id.Status.Message, "amlarc-identity-controller has not looked at it yet"))
	case account != id.Status.ServiceAccountUID:
		return refuse(http.StatusForbidden, "the service account of pod %s is not the one that was made for Identity %s", who.pod, who.identity)
	}
	return nil
}
