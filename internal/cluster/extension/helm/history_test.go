package helm

import (
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"testing/fstest"

	"helm.sh/helm/v4/pkg/release/common"
	releasev1 "helm.sh/helm/v4/pkg/release/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"fairlead.dev/fairlead/internal/testing/kubetest"
)

// installed is release ns/r of a chart of one ConfigMap, in a cluster of its own.
func installed(t *testing.T, unverified bool) (*Client, kubernetes.Interface, Request) {
	t.Helper()
	cluster := kubetest.Start(t)
	kube := kubernetes.NewForConfigOrDie(cluster.Config)
	if _, err := kube.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "ns"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	chart, err := LoadChart(fstest.MapFS{
		"c/Chart.yaml":        {Data: []byte("apiVersion: v2\nname: c\nversion: 1.2.3\n")},
		"c/values.yaml":       {Data: []byte("deep: {value: old}\n")},
		"c/templates/cm.yaml": {Data: []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: cm}\ndata: {value: {{ .Values.deep.value | quote }}}\n")},
	}, "c")
	if err != nil {
		t.Fatal(err)
	}
	client, request := New(cluster.Config, slog.New(slog.DiscardHandler)), Request{Namespace: "ns", Name: "r", Chart: chart, Unverified: unverified}
	if err := client.Install(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	return client, kube, request
}

// TestHistory: ten revisions are kept, and the newest has its chart with it.
func TestHistory(t *testing.T) {
	client, kube, request := installed(t, false)
	chart := request.Chart
	for i := range maxHistory + 1 {
		last, err := client.Last("ns", "r")
		if err != nil {
			t.Fatal(err)
		}
		stored, err := last.Chart()
		if err != nil {
			t.Fatal(err)
		}
		values := map[string]any{"deep": map[string]any{"value": fmt.Sprint(i)}}
		if last.Running() != "1.2.3" || stored.Version() != "1.2.3" || stored.Digest(values) != chart.Digest(values) {
			t.Fatalf("revision %d runs %s, its chart is %s", last.Revision, last.Running(), stored.Version())
		}
		if err := client.Upgrade(t.Context(), Request{Namespace: "ns", Name: "r", Chart: stored, Values: values}); err != nil {
			t.Fatal(err)
		}
	}
	cm, err := kube.CoreV1().ConfigMaps("ns").Get(t.Context(), "cm", metav1.GetOptions{})
	if err != nil || cm.Data["value"] != fmt.Sprint(maxHistory) {
		t.Errorf("ConfigMap %v, %v", cm.Data, err)
	}
	kept, err := kube.CoreV1().Secrets("ns").List(t.Context(), metav1.ListOptions{LabelSelector: "owner=helm,name=r"})
	if err != nil || len(kept.Items) != 10 {
		t.Errorf("%d revisions are kept, want 10 (%v)", len(kept.Items), err)
	}
}

// TestHistoryKeepsTheGood: however many revisions after it nobody has seen work, the one that did is kept and come back to. Until one did, the
// newest is what runs.
func TestHistoryKeepsTheGood(t *testing.T) {
	client, kube, request := installed(t, true)
	last := func() *Release {
		t.Helper()
		out, err := client.Last("ns", "r")
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	first := last()
	stored, err := first.Chart()
	if err != nil {
		t.Fatal(err)
	}
	if first.DeployedBefore || first.Running() != "1.2.3" || stored.Digest(nil) != request.Chart.Digest(nil) {
		t.Errorf("before it was seen to work: good %v, runs %q", first.DeployedBefore, first.Running())
	}
	if err := client.Verified("ns", "r"); err != nil {
		t.Fatal(err)
	}
	for i := range maxHistory + 2 {
		request.Values = map[string]any{"deep": map[string]any{"value": fmt.Sprint(i)}}
		if err := client.Upgrade(t.Context(), request); err != nil {
			t.Fatal(err)
		}
		if r := last(); !r.DeployedBefore || !r.Unverified {
			t.Fatalf("revision %d: good one before it %v, unverified %v", r.Revision, r.DeployedBefore, r.Unverified)
		}
	}
	if err := client.Rollback("ns", "r"); err != nil {
		t.Fatal(err)
	}
	cm, err := kube.CoreV1().ConfigMaps("ns").Get(t.Context(), "cm", metav1.GetOptions{})
	if err != nil || cm.Data["value"] != "old" || last().Unverified {
		t.Errorf("after the rollback: ConfigMap %v, unverified %v, %v", cm.Data, last().Unverified, err)
	}
}

func TestSurplus(t *testing.T) {
	history := func(statuses ...common.Status) []*releasev1.Release {
		var out []*releasev1.Release
		for i, s := range statuses {
			out = append(out, &releasev1.Release{Version: i + 1, Info: &releasev1.Info{Status: s}, Labels: map[string]string{labelUnverified: "true"}})
		}
		return out
	}
	const old, failed, deployed = common.StatusSuperseded, common.StatusFailed, common.StatusDeployed
	nine := history(old, old, failed, failed, failed, failed, failed, failed, deployed)
	ten := history(old, old, old, failed, failed, failed, failed, failed, failed, deployed)
	good := history(old, old, deployed, failed, failed, failed, failed, failed, failed, failed, failed, failed)
	good[0].Labels = nil
	both := history(old, old, failed, failed, failed, failed, failed, failed, failed, deployed)
	both[0].Labels, both[9].Labels = nil, nil
	for name, c := range map[string]struct {
		history []*releasev1.Release
		want    []int
	}{
		"the good one before one that is good": {both, []int{2}},
		"none":                                 {nil, nil}, "room": {nine, nil}, "the oldest": {ten, []int{1}},
		"neither the good one nor the one that is applied": {good, []int{2, 4, 5}},
	} {
		if got := surplus(c.history); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
