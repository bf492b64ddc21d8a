package agentinstall

import (
	"context"
	"fmt"
	"maps"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"fairlead.dev/fairlead/internal/cluster/extension/helm"
	"fairlead.dev/fairlead/internal/release"
)

// images is what the agent's chart is told of images; an empty field says nothing.
type images struct{ Agent, Router, Runtime, PullSecret string }

// imagesOf reads them from a release's values.
func imagesOf(values map[string]any) images {
	image, _ := values["image"].(map[string]any)
	text := func(key string) string {
		s, _ := image[key].(string)
		return s
	}
	return images{Agent: text("agent"), Router: text("router"), Runtime: text("runtime"), PullSecret: text("pullSecret")}
}

// copied is never nil.
func copied(values map[string]any) map[string]any {
	out := map[string]any{}
	maps.Copy(out, values)
	return out
}

// over gives values with these images in place of theirs.
func (i images) over(values map[string]any) map[string]any {
	values = copied(values)
	image, _ := values["image"].(map[string]any)
	image = copied(image)
	for key, value := range map[string]string{"agent": i.Agent, "router": i.Router, "runtime": i.Runtime, "pullSecret": i.PullSecret} {
		if value != "" {
			image[key] = value
		}
	}
	values["image"] = image
	return values
}

// clusterImages are the images that whoever made the cluster brought to its nodes, as a ConfigMap of it says.
func clusterImages(ctx context.Context, kube kubernetes.Interface) (images, error) {
	cm, err := kube.CoreV1().ConfigMaps(release.ImagesNamespace).Get(ctx, release.ImagesConfigMap, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
		return images{}, nil
	}
	if err != nil {
		return images{}, fmt.Errorf("reading ConfigMap %s/%s: %w", release.ImagesNamespace, release.ImagesConfigMap, err)
	}
	return images{Agent: cm.Data[release.AgentKey], Router: cm.Data[release.RouterKey], Runtime: cm.Data[release.RuntimeKey]}, nil
}

// FollowImages upgrades the agent to the images that its cluster was given since, and nothing else of it; the agent brings them to
// its extensions. It does nothing where no agent is installed, and leaves images alone that came from another repository by a
// person's choice.
func FollowImages(ctx context.Context, o Options) error {
	o = o.withDefaults()
	config, kube, err := connect(o)
	if err != nil {
		return err
	}
	given, err := clusterImages(ctx, kube)
	if err != nil {
		return err
	}
	client := helm.New(config, o.Log)
	last, err := client.Last(Namespace, Release)
	if err != nil || last == nil || !last.DeployedBefore {
		return err
	}
	now := imagesOf(last.Values)
	want := following(now, given)
	if want == now {
		return nil
	}
	o.Progress(fmt.Sprintf("Images of this build: %s, %s, %s", want.Agent, want.Router, want.Runtime))
	return o.deploy(ctx, kube, client, last, want.over(last.Values))
}

// following are the images that an agent with images now should have in a cluster that was given others.
func following(now, given images) images {
	if given.Agent != "" && (now.Agent == "" || release.IsOf(now.Agent, release.AgentRepository)) {
		now.Agent = given.Agent
	}
	if given.Router != "" && (now.Router == "" || release.IsOf(now.Router, release.RouterRepository)) {
		now.Router = given.Router
	}
	if given.Runtime != "" && (now.Runtime == "" || release.IsOf(now.Runtime, release.RuntimeRepository)) {
		now.Runtime = given.Runtime
	}
	return now
}

// explainPulls adds to the news of an image that cannot be pulled, once, what to do about it.
func explainPulls(progress func(string), values map[string]any) func(string) {
	i, told := imagesOf(values), false
	return func(text string) {
		progress(text)
		if told || !strings.Contains(text, "ImagePullBackOff") && !strings.Contains(text, "ErrImagePull") {
			return
		}
		told = true
		progress(fmt.Sprintf("The cluster's nodes need images %s, %s and %s. Bring them there (kind load docker-image %[1]s %[2]s %[3]s; minikube image load %[1]s; "+
			"k3s ctr images import FILE), or name a registry's with --agent-image, --router-image, --runtime-image and --image-pull-secret", i.Agent, i.Router, i.Runtime))
	}
}
