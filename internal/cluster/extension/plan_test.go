package extension

import (
	"testing"

	"fairlead.dev/fairlead/internal/cluster/extension/helm"
	"fairlead.dev/fairlead/internal/link"
	"github.com/google/go-cmp/cmp"
)

func TestPlan(t *testing.T) {
	want := &target{generation: 3, digest: "new"}
	release := func(status, digest string) *helm.Release {
		return &helm.Release{Status: status, Labels: map[string]string{labelDigest: digest}}
	}
	good := func(r *helm.Release) *helm.Release { r.DeployedBefore = true; return r }
	unverified := func(r *helm.Release) *helm.Release { r.Unverified = true; return r }
	said := func(state string, generation int64, digest string) *record {
		return &record{Status: link.ExtensionStatus{State: state, Generation: generation}, Digest: digest}
	}
	cases := map[string]struct {
		s    state
		want []action
	}{
		"new":                                   {state{desired: want}, []action{actInstall}},
		"installed again after removal":         {state{desired: want, recorded: said(link.ExtensionRemoved, 2, "")}, []action{actInstall}},
		"failed before, same wish":              {state{desired: want, recorded: said(link.ExtensionFailed, 3, "new")}, []action{actReportFailed}},
		"failed before, newer generation":       {state{desired: want, recorded: said(link.ExtensionFailed, 2, "new")}, []action{actInstall}},
		"failed before, newer chart":            {state{desired: want, recorded: said(link.ExtensionFailed, 3, "old")}, []action{actInstall}},
		"killed while installing":               {state{desired: want, release: release(helm.StatusInstalling, "new")}, []action{actClean, actInstall}},
		"first installation failed":             {state{desired: want, release: release(helm.StatusFailed, "new")}, []action{actClean, actInstall}},
		"killed while uninstalling":             {state{desired: want, release: release(helm.StatusUninstalling, "old")}, []action{actClean, actInstall}},
		"uninstalled by hand, history kept":     {state{desired: want, release: good(release(helm.StatusUninstalled, "old"))}, []action{actClean, actInstall}},
		"applied, pods not waited for":          {state{desired: want, release: unverified(release(helm.StatusDeployed, "new")), recorded: said(link.ExtensionPending, 3, "new")}, []action{actVerify}},
		"applied, nothing recorded":             {state{desired: want, release: unverified(release(helm.StatusDeployed, "new"))}, []action{actVerify}},
		"first installation overtaken":          {state{desired: want, release: unverified(release(helm.StatusDeployed, "old")), recorded: said(link.ExtensionPending, 2, "old")}, []action{actClean, actInstall}},
		"upgrade overtaken":                     {state{desired: want, release: good(unverified(release(helm.StatusDeployed, "old"))), recorded: said(link.ExtensionPending, 2, "old")}, []action{actUpgrade}},
		"upgrade of an overtaken first failed":  {state{desired: want, release: unverified(release(helm.StatusFailed, "old"))}, []action{actClean, actInstall}},
		"refused, and taken back":               {state{desired: want, release: good(release(helm.StatusDeployed, "new")), recorded: said(link.ExtensionFailed, 2, "refused")}, []action{actVerify}},
		"as desired, once complete, failed":     {state{desired: want, release: good(release(helm.StatusDeployed, "new")), recorded: said(link.ExtensionFailed, 3, "new")}, []action{actVerify}},
		"as desired, record lost":               {state{desired: want, release: good(release(helm.StatusDeployed, "new"))}, []action{actReportInstalled}},
		"as desired and known to be":            {state{desired: want, release: good(release(helm.StatusDeployed, "new")), recorded: said(link.ExtensionInstalled, 2, "new")}, []action{actReportInstalled}},
		"changed":                               {state{desired: want, release: good(release(helm.StatusDeployed, "old")), recorded: said(link.ExtensionInstalled, 2, "old")}, []action{actUpgrade}},
		"killed while upgrading":                {state{desired: want, release: good(release(helm.StatusUpgrading, "new"))}, []action{actRecover, actUpgrade}},
		"killed while rolling back":             {state{desired: want, release: good(release(helm.StatusRollingBack, "old"))}, []action{actRecover, actUpgrade}},
		"upgrade failed earlier":                {state{desired: want, release: good(release(helm.StatusFailed, "old"))}, []action{actUpgrade}},
		"not wanted, there":                     {state{release: release(helm.StatusDeployed, "old")}, []action{actUninstall}},
		"not wanted, half there":                {state{release: release(helm.StatusUninstalling, "old")}, []action{actUninstall}},
		"not wanted, gone, perhaps not told so": {state{recorded: said(link.ExtensionInstalled, 2, "old")}, []action{actReportRemoved}},
		"never heard of":                        {state{}, nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, plan(c.s)); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
		})
	}
}
