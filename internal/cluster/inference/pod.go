package inference

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"fairlead.dev/fairlead/api/commonruntime"
	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/internal/mountbroker"
	"fairlead.dev/fairlead/internal/runtime/podenv"
)

// A pod that ends goes on serving while the routers hear of it and until what it has been given is answered; then it is told to stop.
const (
	drainSeconds = 5
	stopSeconds  = 30
	// lostSeconds is how long a node may be away before its pods are replaced.
	lostSeconds = 30
)

// startGrace is how long a container may take until it serves. Liveness counts from then on.
const startGrace = 20 * time.Minute

// The reference's probes, for a deployment that names none, but that a pod is looked at every two seconds until it serves: the
// startup probe stands for the initial delay.
var (
	defaultLiveness  = v1alpha1.Probe{PeriodSeconds: 10, TimeoutSeconds: 2, SuccessThreshold: 1, FailureThreshold: 30}
	defaultReadiness = v1alpha1.Probe{PeriodSeconds: 5, TimeoutSeconds: 2, SuccessThreshold: 1, FailureThreshold: 3}
	defaultStartup   = v1alpha1.Probe{PeriodSeconds: 2, TimeoutSeconds: 2, SuccessThreshold: 1, FailureThreshold: int32(startGrace / (2 * time.Second))}
)

// referenceDelay is the initial delay that the reference gives probes of which nothing is said. A pod that serves sooner need not wait for it,
// as the startup probe holds the others back; other delays are somebody's wish, and kept.
const referenceDelay = 10

// runsServer says that the pod runs our scoring server or the ecosystem's: there is a scoring script, or an MLflow model behind the
// server's own routes. Any other image answers its routes by itself.
func runsServer(od *v1alpha1.OnlineDeployment) bool {
	s := od.Spec
	return s.Code != nil || s.Model != nil && s.Model.Type == "mlflow_model" && servingPort(od) == commonruntime.ServingPort && cmp.Or(s.Routes.ScoringPath, "/score") == "/score"
}

func servingPort(od *v1alpha1.OnlineDeployment) int32 {
	return cmp.Or(od.Spec.Routes.Port, commonruntime.ServingPort)
}

// modelDir is where the model's folder or file is.
func modelDir(od *v1alpha1.OnlineDeployment) string {
	m := od.Spec.Model
	return cmp.Or(m.MountPath, path.Join(commonruntime.ModelsDir, m.Name, m.Version))
}

// renderPod is the template of a deployment's pods.
func (w world) renderPod(cfg Config) (corev1.PodTemplateSpec, error) {
	od := w.od
	no, grace := false, w.drain()+stopSeconds
	spec := corev1.PodSpec{
		AutomountServiceAccountToken:  &no,
		EnableServiceLinks:            &no,
		TerminationGracePeriodSeconds: &grace,
		NodeSelector:                  w.itype.Spec.NodeSelector,
		RuntimeClassName:              w.itype.RuntimeClass(),
		Tolerations:                   append(w.itype.Tolerations(od.Labels), lostTolerations()...),
		ImagePullSecrets:              w.pullSecrets,
		SecurityContext:               &corev1.PodSecurityContext{SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
		TopologySpreadConstraints: []corev1.TopologySpreadConstraint{{
			MaxSkew: 1, TopologyKey: corev1.LabelHostname, WhenUnsatisfiable: corev1.ScheduleAnyway,
			LabelSelector: &metav1.LabelSelector{MatchLabels: ownLabels(od)}, MatchLabelKeys: []string{labelTemplate},
		}},
		Containers: []corev1.Container{w.renderServer()},
	}
	if err := w.addStorage(&spec, cfg); err != nil {
		return corev1.PodTemplateSpec{}, err
	}
	if err := w.addIdentity(&spec, cfg); err != nil {
		return corev1.PodTemplateSpec{}, err
	}
	labels := objectLabels(od)
	maps.Copy(labels, map[string]string{
		labelTemplate: template(od), "ml.azure.com/billing-category": "azureml-inference", "ml.azure.com/scrape-metrics": "true",
		"ml.azure.com/endpoint-name": od.Spec.Endpoint, "ml.azure.com/deployment-name": od.Spec.Name,
	})
	return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: spec}, nil
}

// drain is how long a pod goes on serving once it is to end.
func (w world) drain() int64 {
	return drainSeconds + (w.od.Spec.Requests.TimeoutMilliseconds+999)/1000
}

func lostTolerations() []corev1.Toleration {
	var out []corev1.Toleration
	for _, key := range []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable} {
		seconds := int64(lostSeconds)
		out = append(out, corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &seconds})
	}
	return out
}

func (w world) renderServer() corev1.Container {
	od, no := w.od, false
	c := corev1.Container{
		Name: v1alpha1.ServingContainer, Image: od.Spec.Image, ImagePullPolicy: corev1.PullIfNotPresent,
		Env:                      renderEnv(od),
		Resources:                w.resources,
		Ports:                    []corev1.ContainerPort{{Name: "http", ContainerPort: servingPort(od), Protocol: corev1.ProtocolTCP}},
		Lifecycle:                &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: w.drain()}}},
		TerminationMessagePath:   commonruntime.ReasonPath,
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
		SecurityContext:          &corev1.SecurityContext{AllowPrivilegeEscalation: &no},
	}
	if runsServer(od) {
		c.Command = []string{path.Join(commonruntime.BinDir, "fairlead-runtime"), "serve"}
	}
	c.LivenessProbe, c.ReadinessProbe, c.StartupProbe = renderProbes(od)
	return c
}

// renderProbes are those of the spec. An image of its own that names no route for them is alive as long as it runs, and ready when it
// takes connections.
func renderProbes(od *v1alpha1.OnlineDeployment) (liveness, readiness, startup *corev1.Probe) {
	r, port := od.Spec.Routes, servingPort(od)
	if runsServer(od) {
		r.LivenessPath, r.ReadinessPath = cmp.Or(r.LivenessPath, "/"), cmp.Or(r.ReadinessPath, "/")
	}
	ready := probeHandler(r.ReadinessPath, cmp.Or(r.ReadinessPort, port))
	if r.LivenessPath != "" {
		liveness = probe(od.Spec.LivenessProbe, defaultLiveness, probeHandler(r.LivenessPath, cmp.Or(r.LivenessPort, port)))
		liveness.SuccessThreshold = 1 // Kubernetes allows no other
	}
	startup = probe(od.Spec.StartupProbe, defaultStartup, ready)
	startup.SuccessThreshold = 1
	return liveness, probe(od.Spec.ReadinessProbe, defaultReadiness, ready), startup
}

func probeHandler(route string, port int32) corev1.ProbeHandler {
	if route == "" {
		return corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(port)}}
	}
	return corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: route, Port: intstr.FromInt32(port), Scheme: corev1.URISchemeHTTP}}
}

func probe(given *v1alpha1.Probe, otherwise v1alpha1.Probe, h corev1.ProbeHandler) *corev1.Probe {
	p := otherwise
	if given != nil {
		p = *given
	}
	if p.InitialDelaySeconds == referenceDelay {
		p.InitialDelaySeconds = 0
	}
	return &corev1.Probe{ProbeHandler: h, InitialDelaySeconds: p.InitialDelaySeconds, PeriodSeconds: p.PeriodSeconds,
		TimeoutSeconds: p.TimeoutSeconds, SuccessThreshold: p.SuccessThreshold, FailureThreshold: p.FailureThreshold}
}

// renderEnv are the user's variables and the reference's; where model, code and tokens of the managed identity are nobody else says.
func renderEnv(od *v1alpha1.OnlineDeployment) []corev1.EnvVar {
	env := map[string]string{}
	if runsServer(od) {
		env["WORKER_COUNT"] = "1"
	}
	maps.Copy(env, od.Spec.EnvironmentVariables)
	if od.Spec.Model != nil {
		env["AZUREML_MODEL_DIR"] = modelDir(od)
	}
	if od.Spec.Code != nil {
		env["AML_APP_ROOT"], env["AZUREML_ENTRY_SCRIPT"] = commonruntime.CodeDir, od.Spec.Code.ScoringScript
	}
	toIdentity := identityEnv(od)
	out := make([]corev1.EnvVar, 0, len(env)+len(toIdentity))
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if !slices.ContainsFunc(toIdentity, func(v corev1.EnvVar) bool { return v.Name == name }) {
			out = append(out, corev1.EnvVar{Name: name, Value: env[name]})
		}
	}
	return append(out, toIdentity...)
}

// nobody is what our own containers run as.
func (c Config) nobody() *corev1.SecurityContext {
	yes, no, user := true, false, new(int64(65532))
	if c.NamespaceUsers {
		user = nil
	}
	return &corev1.SecurityContext{RunAsNonRoot: &yes, RunAsUser: user, AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &yes,
		Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}}
}

// addStorage adds the init container and the folders that it fills, if there is anything to fetch.
func (w world) addStorage(spec *corev1.PodSpec, cfg Config) error {
	od := w.od
	doc := commonruntime.Storage{BlobBase: od.Spec.BlobBase, CA: od.Spec.CA + cfg.CustomCA, Server: runsServer(od)}
	init := corev1.Container{
		Name: v1alpha1.FetchContainer, Image: cfg.RuntimeImage, ImagePullPolicy: corev1.PullIfNotPresent,
		Command:                  []string{cfg.RuntimePath, "storage-initializer"},
		Resources:                w.resources, // the same as the server's, so that quotas count the pod once
		TerminationMessagePath:   commonruntime.ReasonPath,
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
		SecurityContext:          cfg.nobody(),
	}
	share := func(name, at string, from corev1.VolumeSource) {
		spec.Volumes = append(spec.Volumes, corev1.Volume{Name: name, VolumeSource: from})
		init.VolumeMounts = append(init.VolumeMounts, corev1.VolumeMount{Name: name, MountPath: at})
		spec.Containers[0].VolumeMounts = append(spec.Containers[0].VolumeMounts, corev1.VolumeMount{Name: name, MountPath: at, ReadOnly: name != "code"})
	}
	empty := corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}
	if doc.Server {
		share("bin", commonruntime.BinDir, empty)
	}
	if od.Spec.Code != nil {
		doc.Code = &commonruntime.Fetch{URL: od.Spec.Code.URL, Dir: commonruntime.CodeDir}
		share("code", commonruntime.CodeDir, empty)
	}
	if od.Spec.Model != nil {
		doc.Model = &commonruntime.Fetch{URL: od.Spec.Model.URL, Dir: modelDir(od)}
		share("model", doc.Model.Dir, empty)
		if cfg.ModelCache {
			doc.Cache = commonruntime.CacheDir
			share("models", commonruntime.CacheDir, corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{
				Driver: mountbroker.Driver, VolumeAttributes: map[string]string{commonruntime.ModelCacheAttribute: "true"}}})
		}
	}
	if len(init.VolumeMounts) == 0 {
		return nil
	}
	if od.Spec.TokenSecret != "" {
		spec.Volumes = append(spec.Volumes, corev1.Volume{Name: "run", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{
			SecretName: od.Spec.TokenSecret, Items: []corev1.KeyToPath{{Key: v1alpha1.FetchToken, Path: path.Base(commonruntime.TokenPath)}}}}})
		init.VolumeMounts = append(init.VolumeMounts, corev1.VolumeMount{Name: "run", MountPath: path.Dir(commonruntime.TokenPath), ReadOnly: true})
	}
	b, err := json.Marshal(doc)
	if err != nil {
		return fmt.Errorf("writing what is to be fetched: %w", err)
	}
	init.Env = []corev1.EnvVar{{Name: podenv.PodUID, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.uid"}}},
		{Name: commonruntime.StorageEnv, Value: strings.ReplaceAll(string(b), "$(", "$$(")}}
	for _, name := range slices.Sorted(maps.Keys(cfg.Proxy)) {
		init.Env = append(init.Env, corev1.EnvVar{Name: name, Value: cfg.Proxy[name]})
	}
	spec.InitContainers = []corev1.Container{init}
	return nil
}
