package identity

import (
	"net/http"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
)

func TestDecide(t *testing.T) {
	id := &v1alpha1.Identity{ObjectMeta: metav1.ObjectMeta{Name: "blue", Namespace: "ml", UID: "u1", Generation: 3}}
	account := func(edit func(*corev1.ServiceAccount)) *corev1.ServiceAccount {
		sa := renderAccount(id)
		sa.UID = "s1"
		edit(sa)
		return sa
	}
	now := metav1.Now()
	for name, c := range map[string]struct {
		account *corev1.ServiceAccount
		makes   bool
		ready   bool
		says    string
	}{
		"missing":         {nil, true, false, ""},
		"there":           {account(func(*corev1.ServiceAccount) {}), false, true, ""},
		"somebody else's": {account(func(sa *corev1.ServiceAccount) { sa.OwnerReferences = nil }), false, false, "kubectl delete serviceaccount blue -n ml"},
		"of one deleted":  {account(func(sa *corev1.ServiceAccount) { sa.OwnerReferences[0].UID = "u0" }), false, false, "made by somebody else"},
		"going":           {account(func(sa *corev1.ServiceAccount) { sa.DeletionTimestamp = &now }), false, false, "being deleted"},
	} {
		d := decide(id, c.account)
		if (d.make != nil) != c.makes || d.status.Ready != c.ready || !strings.Contains(d.status.Message, c.says) || d.status.ObservedGeneration != 3 || (d.status.ServiceAccountUID == "s1") != c.ready {
			t.Errorf("%s: %+v", name, d)
		}
	}
	if sa := renderAccount(id); *sa.AutomountServiceAccountToken || sa.Labels[v1alpha1.LabelDeployment] != "blue" || len(sa.Annotations) > 0 {
		t.Errorf("made %+v", sa)
	}
}

func TestPodOf(t *testing.T) {
	good := func(edit func(*authenticationv1.TokenReviewStatus)) authenticationv1.TokenReviewStatus {
		s := authenticationv1.TokenReviewStatus{Authenticated: true, Audiences: []string{v1alpha1.IdentityProxy}, User: authenticationv1.UserInfo{Username: "system:serviceaccount:ml:blue",
			Extra: map[string]authenticationv1.ExtraValue{claimPodName: {"blue-1"}, claimPodUID: {"u"}}}}
		edit(&s)
		return s
	}
	if p, err := podOf(good(func(*authenticationv1.TokenReviewStatus) {})); err != nil || p.identity.String() != "ml/blue" || p.pod != "blue-1" {
		t.Errorf("%+v, %v", p, err)
	}
	for name, c := range map[string]struct {
		edit   func(*authenticationv1.TokenReviewStatus)
		status int
	}{
		"not good":     {func(s *authenticationv1.TokenReviewStatus) { s.Authenticated = false }, http.StatusProxyAuthRequired},
		"no audience":  {func(s *authenticationv1.TokenReviewStatus) { s.Audiences = nil }, http.StatusProxyAuthRequired},
		"for another":  {func(s *authenticationv1.TokenReviewStatus) { s.Audiences = []string{"api"} }, http.StatusProxyAuthRequired},
		"a person":     {func(s *authenticationv1.TokenReviewStatus) { s.User.Username = "ada" }, http.StatusForbidden},
		"half a name":  {func(s *authenticationv1.TokenReviewStatus) { s.User.Username = "system:serviceaccount:ml" }, http.StatusForbidden},
		"no namespace": {func(s *authenticationv1.TokenReviewStatus) { s.User.Username = "system:serviceaccount::blue" }, http.StatusForbidden},
		"of no pod":    {func(s *authenticationv1.TokenReviewStatus) { s.User.Extra = nil }, http.StatusForbidden},
		"without uid":  {func(s *authenticationv1.TokenReviewStatus) { delete(s.User.Extra, claimPodUID) }, http.StatusForbidden},
	} {
		_, err := podOf(good(c.edit))
		if no, is := err.(*refusal); !is || no.status != c.status { //nolint:errorlint // it is not wrapped
			t.Errorf("%s: %v", name, err)
		}
	}
}
