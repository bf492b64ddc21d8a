package extension

import (
	"fairlead.dev/fairlead/internal/cluster/extension/helm"
	"fairlead.dev/fairlead/internal/link"
)

// action is one step towards the desired state.
type action string

const (
	// actInstall makes the release and waits for its pods; on failure it is uninstalled.
	actInstall action = "install"
	// actUpgrade makes the next revision and waits for its pods; on failure the last one that was complete is restored.
	actUpgrade action = "upgrade"
	// actVerify waits for the pods of a release that is as desired; one that was never complete is undone on failure.
	actVerify action = "verify"
	// actClean takes away what a first installation that broke or was overtaken, or an interrupted uninstall, left, before an install.
	actClean action = "clean"
	// actRecover ends a revision whose process died in the middle of it, before an upgrade.
	actRecover action = "recover"
	// actUninstall takes away the release because nobody wants it any more.
	actUninstall action = "uninstall"
	// actReportRemoved says again that nothing is left.
	actReportRemoved action = "report-removed"
	// actReportInstalled says again that the release is as desired. Pods that are unready now, after the installation was
	// once complete, are their controllers' to bring back and no reason to take the release away.
	actReportInstalled action = "report-installed"
	// actReportFailed says again why this very generation failed; it is not tried again until something changes.
	actReportFailed action = "report-failed"
)

// state is all that a decision rests on.
type state struct {
	// desired is nil when the extension is not wanted.
	desired *target
	// release is nil when there is none.
	release *helm.Release
	// recorded is what was last reported, also before a restart of the agent; nil when nothing ever was.
	recorded *record
}

// target is a desired extension made concrete.
type target struct {
	generation int64
	digest     string
}

// plan decides what to do; an empty plan means all is as it should be.
func plan(s state) []action {
	if s.desired == nil {
		return planRemoval(s)
	}
	r, rel := s.recorded, s.release
	asDesired := rel != nil && rel.Status == helm.StatusDeployed && rel.Labels[labelDigest] == s.desired.digest
	complete := asDesired && !rel.Unverified // once, at least
	switch {
	case complete && (r == nil || r.Status.State == link.ExtensionInstalled && r.Digest == s.desired.digest):
		return []action{actReportInstalled}
	case complete:
		return []action{actVerify}
	case r != nil && r.Status.State == link.ExtensionFailed && r.Status.Generation == s.desired.generation && r.Digest == s.desired.digest:
		return []action{actReportFailed}
	case rel == nil:
		return []action{actInstall}
	case asDesired:
		return []action{actVerify}
	case !rel.DeployedBefore:
		return []action{actClean, actInstall}
	}
	switch rel.Status {
	case helm.StatusDeployed, helm.StatusFailed:
		return []action{actUpgrade}
	case helm.StatusUpgrading, helm.StatusRollingBack:
		return []action{actRecover, actUpgrade}
	}
	return []action{actClean, actInstall}
}

func planRemoval(s state) []action {
	switch {
	case s.release != nil:
		return []action{actUninstall}
	case s.recorded != nil:
		return []action{actReportRemoved}
	}
	return nil
}
