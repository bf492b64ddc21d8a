package helm

import (
	"fmt"
	"log/slog"
	"testing"
	"testing/fstest"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"fairlead.dev/fairlead/internal/testing/kubetest"
)

// TestHistory: ten revisions are kept, and the newest has its chart with it.
func TestHistory(t *testing.T) {
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
	client := New(cluster.Config, slog.New(slog.DiscardHandler))
	if err := client.Install(t.Context(), Request{Namespace: "ns", Name: "r", Chart: chart}); err != nil {
		t.Fatal(err)
	}
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
