package identity

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
)

// decision is what to write.
type decision struct {
	// make is the account that is missing.
	make   *corev1.ServiceAccount
	status v1alpha1.IdentityStatus
	// again asks to look again after so long; 0 is not to.
	again time.Duration
}

// decide says whether the pods of an Identity get tokens: as soon as the account of its name, nil when there is none, is the one that was
// made for it. An account that somebody else made might be used by pods that are not the deployment's.
func decide(id *v1alpha1.Identity, account *corev1.ServiceAccount) decision {
	d := decision{status: v1alpha1.IdentityStatus{ObservedGeneration: id.Generation}}
	switch {
	case account == nil:
		d.make = renderAccount(id)
	case !metav1.IsControlledBy(account, id):
		d.again = lookAgain
		d.status.Message = fmt.Sprintf("ServiceAccount %s/%s was made by somebody else; the deployment needs one of its own. Delete it: kubectl delete serviceaccount %s -n %s",
			id.Namespace, id.Name, id.Name, id.Namespace)
	case account.DeletionTimestamp != nil:
		d.status.Message = fmt.Sprintf("ServiceAccount %s/%s is being deleted, and made anew after that", id.Namespace, id.Name)
	default:
		d.status.Ready, d.status.ServiceAccountUID = true, account.UID
	}
	return d
}

// renderAccount is an account without any right. Its token is in no pod but where the identity's proof is asked for.
func renderAccount(id *v1alpha1.Identity) *corev1.ServiceAccount {
	no := false
	return &corev1.ServiceAccount{
		ObjectMeta: metav1.ObjectMeta{
			Name: id.Name, Namespace: id.Namespace, Labels: map[string]string{v1alpha1.LabelDeployment: id.Name},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(id, v1alpha1.GroupVersion.WithKind("Identity"))},
		},
		AutomountServiceAccountToken: &no,
	}
}
