package extension

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"fairlead.dev/fairlead/internal/cluster/extension/helm"
	"fairlead.dev/fairlead/internal/cluster/preflight"
	"fairlead.dev/fairlead/internal/link"
)

// codeFailed is the error code of every failed operation on an extension.
const codeFailed = "ExtensionOperationFailed"

// job is one extension being worked on.
type job struct {
	m       *Manager
	ext     link.Extension
	chart   *helm.Chart
	request helm.Request
	digest  string
	release *helm.Release
	// note says why the version that runs stays.
	note string
	// checks are what the preflight found; nil when there was none.
	checks []link.Status
}

// ensure brings an extension to its desired state. An error means: try again.
func (m *Manager) ensure(ctx context.Context, ext link.Extension) error {
	if ext.ReleaseNamespace == "" {
		ext.ReleaseNamespace = DefaultNamespace
	}
	j := &job{m: m, ext: ext}
	var err error
	if j.release, err = m.cfg.Helm.Last(ext.ReleaseNamespace, ext.Name); err != nil {
		return err
	}
	from, err := m.basis(ext, j.release)
	if err != nil {
		return j.failed(ctx, operationFailed(opCreate, ext.Name, "the chart was not found", err, ""))
	}
	values, err := values(from.defaults, ext.Settings, ext.ProtectedSettings)
	if err != nil {
		return j.failed(ctx, operationFailed(opCreate, ext.Name, "the settings are not valid", err, ""))
	}
	j.chart, j.note, j.digest = from.chart, from.note, from.chart.Digest(values)
	j.request = helm.Request{
		Namespace: ext.ReleaseNamespace, Name: ext.Name, Chart: from.chart, Values: values,
		Labels:     map[string]string{labelName: ext.Name, labelGeneration: strconv.FormatInt(ext.Generation, 10), labelDigest: j.digest},
		Unverified: true,
	}
	steps := plan(state{desired: &target{ext.Generation, j.digest}, release: j.release, recorded: m.records.get(ext.Name)})
	m.cfg.Log.Info("reconciling extension", "extension", ext.Name, "generation", ext.Generation, "steps", steps)
	for _, step := range steps {
		if err := j.do(ctx, step); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return nil // overtaken, as verify says
	}
	return m.abandonVolumes(ctx)
}

func (j *job) do(ctx context.Context, step action) error {
	h, ns, name := j.m.cfg.Helm, j.ext.ReleaseNamespace, j.ext.Name
	switch step {
	case actReportFailed:
		j.m.cfg.Report(name, j.m.records.get(name).Status)
		return nil
	case actReportInstalled:
		return j.installed(ctx)
	case actClean:
		if err := h.Uninstall(ns, name); err != nil {
			return fmt.Errorf("cleaning up release %s/%s: %w", ns, name, err)
		}
		return j.m.wait.gone(ctx, ns, name)
	case actRecover:
		return h.SetStatus(ns, name, helm.StatusFailed)
	case actInstall:
		return j.apply(ctx, opCreate, h.Install)
	case actUpgrade:
		return j.apply(ctx, opUpdate, h.Upgrade)
	case actVerify:
		op, undo := opCreate, j.undo
		if j.release.DeployedBefore {
			op = opUpdate
		}
		if !j.release.Unverified {
			undo = j.leave
		}
		return j.verify(ctx, op, undo)
	}
	return fmt.Errorf("step %q is not one of an extension that is desired", step)
}

// apply makes a revision and waits for its pods.
func (j *job) apply(ctx context.Context, op operation, act func(context.Context, helm.Request) error) error {
	if err := j.pending(ctx, "looking at the cluster"); err != nil {
		return err
	}
	if ended, err := j.preflight(ctx, op); ended || err != nil {
		return err
	}
	if err := j.pending(ctx, "applying the chart"); err != nil {
		return err
	}
	if err := j.m.cfg.Prepare(ctx, j.ext.ReleaseNamespace); err != nil {
		return errors.Join(j.pending(ctx, err.Error()), err)
	}
	// Helm goes on in the background when its context ends, so it gets one that does not.
	err := act(context.WithoutCancel(ctx), j.request)
	if err != nil && transient(err) {
		return errors.Join(j.pending(ctx, err.Error()), err)
	}
	if err != nil {
		return j.undo(ctx, op, "the chart could not be applied", err)
	}
	return j.verify(ctx, op, j.undo)
}

// verify waits for the pods of the newest revision and, when they do not become ready, undoes.
func (j *job) verify(ctx context.Context, op operation, undo func(ctx context.Context, op operation, what string, cause error) error) error {
	err := j.m.wait.ready(ctx, j.ext.ReleaseNamespace, j.ext.Name, func(text string) {
		_ = j.pending(ctx, text) // told again with the next change
	})
	var notReady *errNotReady
	switch {
	case err == nil:
		if err := j.m.cfg.Helm.Verified(j.ext.ReleaseNamespace, j.ext.Name); err != nil {
			return err
		}
		return j.installed(ctx)
	case errors.As(err, &notReady):
		return undo(ctx, op, "its pods did not become ready", err)
	case ctx.Err() != nil:
		return nil // overtaken by a newer wish, which is in the queue, or the agent stops
	}
	return err
}

// undo takes away what failed and reports why. A revision with a good one before it is rolled back.
func (j *job) undo(ctx context.Context, op operation, what string, cause error) error {
	h, ns, name := j.m.cfg.Helm, j.ext.ReleaseNamespace, j.ext.Name
	done := "uninstalled"
	var err error
	if op == opUpdate {
		done = "rolled back"
		j.m.lookBefore(ctx, preflight.PreRollback, helm.Ref{Namespace: ns, Name: name})
		err = h.Rollback(ns, name)
	} else if err = h.Uninstall(ns, name); err == nil {
		err = j.m.wait.gone(context.WithoutCancel(ctx), ns, name)
	}
	message := operationFailed(op, name, what, cause, done)
	if err != nil {
		message += fmt.Sprintf(" (and it could not be %s: %v)", done, err)
	}
	return j.failed(ctx, message)
}

// leave reports why a release is not ready that was once: it stays, since what ails it came from elsewhere and may go as it came.
func (j *job) leave(ctx context.Context, op operation, what string, cause error) error {
	return j.failed(ctx, operationFailed(op, j.ext.Name, what, fmt.Errorf("%w. Nothing was changed", cause), ""))
}

func (j *job) pending(ctx context.Context, message string) error {
	return j.report(ctx, link.ExtensionStatus{State: link.ExtensionPending, Message: message},
		link.Status{Code: "Pending", Level: "Information", Message: message})
}

func (j *job) installed(ctx context.Context) error {
	return j.report(ctx, link.ExtensionStatus{State: link.ExtensionInstalled},
		link.Status{Code: "Installed", Level: "Information", Message: fmt.Sprintf("release %s/%s is ready", j.ext.ReleaseNamespace, j.ext.Name)})
}

func (j *job) failed(ctx context.Context, message string) error {
	j.m.cfg.Log.Error("extension failed", "extension", j.ext.Name, "generation", j.ext.Generation, "reason", message)
	return j.report(ctx, link.ExtensionStatus{State: link.ExtensionFailed, Code: codeFailed, Message: message},
		link.Status{Code: codeFailed, Level: "Error", Message: message})
}

func (j *job) report(ctx context.Context, status link.ExtensionStatus, check link.Status) error {
	check.Time = time.Now().UTC().Format(time.RFC3339)
	status.Generation = j.ext.Generation
	status.Checks = slices.Concat([]link.Status{check}, j.noted(), j.findings())
	if j.chart != nil {
		status.Version = j.chart.Version()
	}
	return j.m.report(ctx, j.ext.Name, record{Status: status, Digest: j.digest, Namespace: j.ext.ReleaseNamespace})
}

// remove takes away an extension that is not desired.
func (m *Manager) remove(ctx context.Context, name string) error {
	recorded := m.records.get(name)
	refs, err := m.cfg.Helm.Find(ctx, labelName)
	if err != nil {
		return err
	}
	var release *helm.Release
	ref, found := refs[name]
	if found {
		if release, err = m.cfg.Helm.Last(ref.Namespace, ref.Name); err != nil {
			return err
		}
	}
	for _, step := range plan(state{release: release, recorded: recorded}) {
		if step == actUninstall {
			if err := m.uninstall(ctx, ref); err != nil {
				return fmt.Errorf("removing extension %q: %w", name, err)
			}
		}
		// Also when an earlier try made the release go: what follows it may have failed then.
		if err := m.tidy(ctx, refs, ref.Namespace, recorded); err != nil {
			return fmt.Errorf("removing what extension %q left: %w", name, err)
		}
		status := link.ExtensionStatus{State: link.ExtensionRemoved, Generation: generation(release, recorded)}
		if err := m.report(ctx, name, record{Status: status}); err != nil {
			return err
		}
	}
	return nil
}

func (m *Manager) uninstall(ctx context.Context, ref helm.Ref) error {
	m.cfg.Log.Info("removing extension", "release", ref.Name, "namespace", ref.Namespace)
	m.lookBefore(ctx, preflight.PreDelete, ref)
	if err := m.cfg.Helm.Uninstall(ref.Namespace, ref.Name); err != nil {
		return err
	}
	return m.wait.gone(ctx, ref.Namespace, ref.Name)
}

// tidy takes away what an extension leaves beside its release. namespace is the release's, "" when it is gone already: then the record,
// which loses it when the extension is told to be removed, says where it was.
func (m *Manager) tidy(ctx context.Context, others map[string]helm.Ref, namespace string, recorded *record) error {
	err := m.abandonVolumes(ctx)
	if namespace == "" && recorded != nil {
		namespace = recorded.Namespace
		for _, other := range others {
			if other.Namespace == namespace {
				return err // all is that one's now
			}
		}
	}
	if namespace == "" {
		return err
	}
	return errors.Join(err, preflight.Forget(ctx, m.cfg.Kube, namespace), m.cfg.Forget(ctx, namespace))
}

// generation is the newest one known of an extension whose desired value is gone.
func generation(release *helm.Release, recorded *record) int64 {
	var n int64
	if release != nil {
		n, _ = strconv.ParseInt(release.Labels[labelGeneration], 10, 64)
	}
	if recorded != nil {
		n = max(n, recorded.Status.Generation)
	}
	return n
}
