package bench

import (
	"net/http"
	"testing"

	"fairlead.dev/fairlead/internal/testing/serverproc"
)

// lab makes all that a job needs and returns the workspace's id. Its cluster is played.
func (s *server) lab(b *testing.B) string {
	b.Helper()
	put := func(id, body string) {
		if _, err := s.Do(b.Context(), http.MethodPut, id+serverproc.APIVersion, body); err != nil {
			b.Fatal(err)
		}
	}
	edge := s.group + "/providers/Microsoft.Kubernetes/connectedClusters/edge"
	put(s.group, `{"location":"local"}`)
	s.PlayCluster(b, edge)
	ext := edge + "/providers/Microsoft.KubernetesConfiguration/extensions/ml"
	put(ext, `{"properties":{"extensionType":"Microsoft.AzureML.Kubernetes","configurationSettings":{"enableTraining":"True"}}}`)
	s.Await(b, ext)
	ws := s.group + "/providers/Microsoft.MachineLearningServices/workspaces/lab"
	put(ws, `{"location":"local","properties":{}}`)
	put(ws+"/environments/e/versions/1", `{"properties":{"image":"docker.io/library/python:3"}}`)
	put(ws+"/computes/k8s", `{"location":"local","properties":{"computeType":"Kubernetes","resourceId":"`+edge+`","properties":{"namespace":"default"}}}`)
	s.Await(b, ws+"/computes/k8s")
	return ws
}
