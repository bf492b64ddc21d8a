package inference

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
)

// TestDecideIdentity: pods that speak as an identity are made when it is ready, and not before.
func TestDecideIdentity(t *testing.T) {
	od, plain := aDeployment(speaks), aDeployment()
	seen := func(edit func(*v1alpha1.Identity)) []client.Object {
		id := ready(od)
		edit(id)
		return []client.Object{id}
	}
	for name, c := range map[string]struct {
		od         *v1alpha1.OnlineDeployment
		beside     []client.Object
		deployment *appsv1.Deployment
		makes      bool
		drops      bool
		state      string
		says       string
	}{
		"not asked for yet":       {od: od, state: "Creating", says: "waits for its managed identity: amlarc-identity-controller"},
		"not looked at":           {od: od, beside: seen(func(id *v1alpha1.Identity) { id.Status = v1alpha1.IdentityStatus{} }), state: "Creating", says: "amlarc-identity-controller"},
		"looked at before":        {od: od, beside: seen(func(id *v1alpha1.Identity) { id.Generation = 2 }), state: "Creating", says: "amlarc-identity-controller"},
		"another is ready":        {od: od, beside: seen(func(id *v1alpha1.Identity) { id.Spec.ClientID = "c0" }), state: "Creating", says: "amlarc-identity-controller"},
		"cannot be":               {od: od, beside: seen(func(id *v1alpha1.Identity) { id.Status = v1alpha1.IdentityStatus{Message: "made by somebody else"} }), state: "Failed", says: "made by somebody else"},
		"ready":                   {od: od, beside: seen(func(*v1alpha1.Identity) {}), makes: true, state: "Creating", says: "0 of 2"},
		"pods of before go on":    {od: od, deployment: made(plain, 2, 2, 2), state: "Creating", says: "amlarc-identity-controller"},
		"runs, and is lost":       {od: aDeployment(speaks, was("Succeeded", 2)), deployment: made(od, 2, 2, 2), state: "Succeeded"},
		"taken away":              {od: plain, beside: seen(func(*v1alpha1.Identity) {}), makes: true, drops: true, state: "Creating", says: "0 of 2"},
		"nobody asks for any":     {od: plain, makes: true, state: "Creating", says: "0 of 2"},
		"its proof has no Secret": {od: aDeployment(speaks, func(od *v1alpha1.OnlineDeployment) { od.Spec.TokenSecret = "" }), state: "Failed", says: "tokenSecret"},
	} {
		t.Run(name, func(t *testing.T) {
			d := decide(world{now: t0, od: c.od, deployment: c.deployment, beside: c.beside, itype: defaultType()}, testConfig(t))
			if (d.deployment != nil) != c.makes || (d.drop != nil) != c.drops || d.status.State != c.state || !strings.Contains(d.status.Message, c.says) {
				t.Errorf("deployment %v, drop %v, status %+v", d.deployment != nil, d.drop != nil, d.status)
			}
		})
	}
}

// testIdentity: an Identity is made and kept, its pods follow when it is ready, and it goes when the deployment has none any more.
func testIdentity(s *stage) {
	s.create("speaks", speaks)
	first := until(s, &v1alpha1.Identity{ObjectMeta: metav1.ObjectMeta{Name: "speaks", Namespace: "ml"}}, &v1alpha1.IdentityList{}, func(id *v1alpha1.Identity) bool { return id.Spec.ClientID == "c1" })
	until(s, &v1alpha1.OnlineDeployment{ObjectMeta: metav1.ObjectMeta{Name: "speaks", Namespace: "ml"}}, &v1alpha1.OnlineDeploymentList{}, func(od *v1alpha1.OnlineDeployment) bool {
		return strings.Contains(od.Status.Message, "amlarc-identity-controller")
	})
	if err := s.c.Get(s.t.Context(), client.ObjectKeyFromObject(first), &appsv1.Deployment{}); client.IgnoreNotFound(err) != nil || err == nil {
		s.t.Errorf("pods were made before their identity was ready: %v", err)
	}
	done := first.DeepCopy()
	done.Status = v1alpha1.IdentityStatus{ObservedGeneration: first.Generation, Ready: true}
	s.must(s.c.Status().Patch(s.t.Context(), done, client.MergeFrom(first)))
	d := s.deployment("speaks", wants(2))
	if d.Spec.Template.Spec.ServiceAccountName != "speaks" {
		s.t.Errorf("pods run in account %q", d.Spec.Template.Spec.ServiceAccountName)
	}
	od := s.state("speaks", v1alpha1.DeploymentCreating, "")
	plain := od.DeepCopy()
	plain.Spec.Identity = nil
	s.must(s.c.Patch(s.t.Context(), plain, client.MergeFrom(od)))
	s.deployment("speaks", func(d *appsv1.Deployment) bool { return d.Spec.Template.Spec.ServiceAccountName == "" })
	if err := s.c.Get(s.t.Context(), client.ObjectKeyFromObject(first), &v1alpha1.Identity{}); client.IgnoreNotFound(err) != nil || err == nil {
		s.t.Errorf("the Identity is left: %v", err)
	}
}
