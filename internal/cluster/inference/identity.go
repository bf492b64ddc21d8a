package inference

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"fairlead.dev/fairlead/api/commonruntime"
	"fairlead.dev/fairlead/api/k8s/v1alpha1"
)

// proofSeconds is how long a token is good by which a pod proves whose it is; the kubelet renews it.
const proofSeconds = 3600

// renderIdentity asks amlarc-identity-controller for an account of the deployment's own.
func renderIdentity(od *v1alpha1.OnlineDeployment) *v1alpha1.Identity {
	return &v1alpha1.Identity{ObjectMeta: objectMeta(od), Spec: *od.Spec.Identity}
}

// identity is the deployment's Identity; nil when there is none.
func (w world) identity() *v1alpha1.Identity {
	for _, o := range w.beside {
		if id, is := o.(*v1alpha1.Identity); is {
			return id
		}
	}
	return nil
}

// awaitsIdentity says why no pods can be made that speak as the deployment's identity; its zero value, that they can.
func (w world) awaitsIdentity() problem {
	id := w.identity()
	switch {
	case w.od.Spec.Identity == nil || id != nil && id.Usable() && id.Spec == *w.od.Spec.Identity:
		return problem{}
	case id != nil && id.Status.Message != "" && id.Status.ObservedGeneration == id.Generation:
		return problem{ReasonInvalid, id.Status.Message, true}
	}
	return problem{message: "waits for its managed identity: amlarc-identity-controller has not yet made its service account"}
}

// identityEnv are the variables that lead Azure's libraries to the sidecar.
func identityEnv(od *v1alpha1.OnlineDeployment) []corev1.EnvVar {
	if od.Spec.Identity == nil {
		return nil
	}
	vars := commonruntime.Identity(*od.Spec.Identity).Environ(commonruntime.IdentityAddress, "")
	out := make([]corev1.EnvVar, 0, len(vars))
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		if vars[name] == "" {
			out = append(out, secretEnv(name, od))
		} else {
			out = append(out, corev1.EnvVar{Name: name, Value: vars[name]})
		}
	}
	return out
}

// secretEnv is a variable with what processes of the pod must send.
func secretEnv(name string, od *v1alpha1.OnlineDeployment) corev1.EnvVar {
	return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
		LocalObjectReference: corev1.LocalObjectReference{Name: od.Spec.TokenSecret}, Key: v1alpha1.IdentityHeader}}}
}

// addIdentity adds the sidecar that gives the pod's processes tokens, whatever image they are of. It starts before they do and ends after
// them. The account's token and the deployment's own are in the sidecar only.
func (w world) addIdentity(spec *corev1.PodSpec, cfg Config) error {
	od := w.od
	if od.Spec.Identity == nil {
		return nil
	}
	doc, err := json.Marshal(commonruntime.IdentitySidecar{Identity: commonruntime.Identity(*od.Spec.Identity), CA: od.Spec.CA + cfg.CustomCA,
		Proxy: fmt.Sprintf("http://%s.%s.svc:%d", v1alpha1.IdentityProxy, cfg.RouterNamespace, v1alpha1.IdentityProxyPort)})
	if err != nil {
		return fmt.Errorf("writing whose tokens the pod gives: %w", err)
	}
	always, seconds := corev1.ContainerRestartPolicyAlways, int64(proofSeconds)
	spec.ServiceAccountName = od.Name
	spec.InitContainers = append(spec.InitContainers, corev1.Container{
		Name: v1alpha1.IdentityContainer, Image: cfg.RuntimeImage, ImagePullPolicy: corev1.PullIfNotPresent, RestartPolicy: &always,
		Command: []string{cfg.RuntimePath, "identity"},
		Env:     []corev1.EnvVar{{Name: commonruntime.IdentityEnv, Value: strings.ReplaceAll(string(doc), "$(", "$$(")}, secretEnv(commonruntime.IdentitySecretEnv, od)},
		Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("5m"), corev1.ResourceMemory: resource.MustParse("16Mi")},
			Limits:   corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("200m"), corev1.ResourceMemory: resource.MustParse("100Mi")},
		},
		SecurityContext:          cfg.nobody(),
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
		VolumeMounts:             []corev1.VolumeMount{{Name: "identity", MountPath: commonruntime.IdentityDir, ReadOnly: true}},
	})
	spec.Volumes = append(spec.Volumes, corev1.Volume{Name: "identity", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
		{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Audience: v1alpha1.IdentityProxy, ExpirationSeconds: &seconds, Path: commonruntime.IdentityProof}},
		{Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: od.Spec.TokenSecret},
			Items: []corev1.KeyToPath{{Key: v1alpha1.FetchToken, Path: commonruntime.IdentityToken}}}},
	}}}})
	return nil
}
