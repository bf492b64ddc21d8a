//go:build conformance

package conformance

import "testing"

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
