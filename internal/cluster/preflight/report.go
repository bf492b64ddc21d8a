package preflight

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	applycore "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/kubernetes"
)

// ReportName is the ConfigMap in the release namespace that holds the newest report of each phase, in key reports-<phase>.
const ReportName = "arcml-healthcheck"

// Report is the text of results, one line for each finding and for each check that found nothing, as the reference writes them.
func Report(at time.Time, results []Result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Time: %s\n", at.UTC().Format(time.RFC3339))
	for _, r := range results {
		if len(r.Findings) == 0 {
			fmt.Fprintf(&b, "Status: Succeeded Name: %s\n", r.Check)
		}
		for _, f := range r.Findings {
			status := map[Level]string{Error: "Failed", Warning: "Warning", Information: "Succeeded"}[f.Level]
			fmt.Fprintf(&b, "Status: %s Name: %s ErrorCode: %s ErrorMessage: %s: %s", status, r.Check, f.Code, f.Code.Name, f.Message)
			if f.Fix != "" {
				fmt.Fprintf(&b, " Remedy: %s", f.Fix)
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// Write keeps the report of a phase in the cluster; the namespace is made when it is absent, unless something is being removed.
func Write(ctx context.Context, kube kubernetes.Interface, s Subject, results []Result) error {
	if s.Phase != PreDelete {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.Namespace, Labels: map[string]string{"app.kubernetes.io/managed-by": fieldManager}}}
		_, err := kube.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{FieldManager: fieldManager})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("making namespace %s: %w", s.Namespace, err)
		}
	}
	maps := kube.CoreV1().ConfigMaps(s.Namespace)
	key := "reports-" + string(s.Phase)
	// Each phase applies its own key under a name of its own, so that none takes away another's.
	report := applycore.ConfigMap(ReportName, s.Namespace).WithData(map[string]string{key: Report(s.Now, results)})
	_, err := maps.Apply(ctx, report, metav1.ApplyOptions{FieldManager: fieldManager + "-" + string(s.Phase), Force: true})
	if err != nil && !(s.Phase == PreDelete && apierrors.IsNotFound(err)) {
		return fmt.Errorf("writing ConfigMap %s/%s: %w", s.Namespace, ReportName, err)
	}
	return nil
}

// Forget takes away the reports of an extension that is gone.
func Forget(ctx context.Context, kube kubernetes.Interface, namespace string) error {
	err := kube.CoreV1().ConfigMaps(namespace).Delete(ctx, ReportName, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("deleting ConfigMap %s/%s: %w", namespace, ReportName, err)
	}
	return nil
}

const fieldManager = "fairlead-agent"
