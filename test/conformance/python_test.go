//go:build conformance

package conformance

import (
	"net/http"
	"testing"

	"fairlead.dev/fairlead/internal/testing/serverproc"
)

// TestInstalled makes the environments, so that those who run the others can tell a client that fails from one that is not there.
func TestInstalled(t *testing.T) {
	for kind, pins := range map[string]string{"python": "python/requirements.txt", "azureml-core": "python/azureml-core.requirements.txt", "azure-cli": "python/az.requirements.txt"} {
		python(t, kind, abs(t, pins))
	}
	javaScript(t)
}

func TestPython(t *testing.T) {
	py := python(t, "python", abs(t, "python/requirements.txt"))
	t.Run("resource manager", func(t *testing.T) {
		runSteps(t, "azure-mgmt (Python)", script(t, newLab(t).withCertificate(t), py, abs(t, "python/arm.py")))
	})
	t.Run("machine learning", func(t *testing.T) {
		runSteps(t, "azure-ai-ml (Python)", script(t, newLab(t).withWorkspace(t, "py-lab"), py, abs(t, "python/ml.py")))
	})
}

func TestAzureCLI(t *testing.T) {
	py := python(t, "azure-cli", abs(t, "python/az.requirements.txt"))
	l := newLab(t).withCertificate(t)
	l.withAda(t)
	runSteps(t, "azure-cli", script(t, l, py, abs(t, "python/az.py")))
}

func TestMLflow(t *testing.T) {
	py := python(t, "mlflow", abs(t, "python/mlflow.requirements.txt"))
	l := newLab(t).withWorkspace(t, "mlflow-lab").withWorkspace(t, "same-lab")
	runSteps(t, "mlflow", script(t, l, py, abs(t, "python/mlflow_client.py")))
}

func TestAzureMLCore(t *testing.T) {
	py := python(t, "azureml-core", abs(t, "python/azureml-core.requirements.txt"))
	l := newLab(t).withWorkspace(t, "v1-lab")
	if _, err := l.Do(t.Context(), http.MethodPut, l.group+"/providers/Microsoft.ManagedIdentity/userAssignedIdentities/v1-id"+serverproc.APIVersion, `{"location":"local"}`); err != nil {
		t.Fatal(err)
	}
	cmd := script(t, l, py, abs(t, "python/azureml_core.py"))
	cmd.Env = append(cmd.Env, "AZUREML_CURRENT_CLOUD=Fairlead")
	runSteps(t, "azureml-core (Python)", cmd)
}
