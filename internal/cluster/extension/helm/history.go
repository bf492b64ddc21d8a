package helm

import (
	"errors"
	"fmt"
	"slices"

	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/release/common"
	releasev1 "helm.sh/helm/v4/pkg/release/v1"
	"helm.sh/helm/v4/pkg/storage/driver"
)

// maxHistory is how many revisions of a release are kept.
const maxHistory = 10

// revisions are all of a release that are kept, in no order; none when there is no release.
func revisions(cfg *action.Configuration, namespace, name string) ([]*releasev1.Release, error) {
	history, err := cfg.Releases.History(name)
	if err != nil && !errors.Is(err, driver.ErrReleaseNotFound) {
		return nil, fmt.Errorf("reading release %s/%s: %w", namespace, name, err)
	}
	var out []*releasev1.Release
	for _, r := range history {
		out = append(out, r.(*releasev1.Release))
	}
	return out, nil
}

// newest is the newest revision that is as asked, nil when none is.
func newest(history []*releasev1.Release, is func(*releasev1.Release) bool) *releasev1.Release {
	var out *releasev1.Release
	for _, r := range history {
		if is(r) && (out == nil || r.Version > out.Version) {
			out = r
		}
	}
	return out
}

func anyOf(*releasev1.Release) bool { return true }

func applied(r *releasev1.Release) bool { return r.Info.Status == common.StatusDeployed }

// wasGood reports whether a revision is one to roll back to.
func wasGood(r *releasev1.Release) bool {
	return (applied(r) || r.Info.Status == common.StatusSuperseded) && !unverified(r)
}

// goodBeforeNewest is the one that a rollback makes anew, nil when there is none.
func goodBeforeNewest(history []*releasev1.Release) *releasev1.Release {
	last := newest(history, anyOf)
	return newest(history, func(r *releasev1.Release) bool { return wasGood(r) && r.Version < last.Version })
}

func unverified(r *releasev1.Release) bool { return r.Labels[labelUnverified] != "" }

// prune makes room for one more revision. Helm would do it, and take away the one to roll back to when many unverified ones came after it.
func prune(cfg *action.Configuration, namespace, name string) error {
	history, err := revisions(cfg, namespace, name)
	if err != nil {
		return err
	}
	for _, version := range surplus(history) {
		if _, err := cfg.Releases.Delete(name, version); err != nil && !errors.Is(err, driver.ErrReleaseNotFound) {
			return fmt.Errorf("deleting revision %d of release %s/%s: %w", version, namespace, name, err)
		}
	}
	return nil
}

// surplus are the oldest revisions that leave no room for one more, without those to roll back to, now and after the next, and those that
// Helm compares with: the newest, and the newest that was applied.
func surplus(history []*releasev1.Release) []int {
	keep := []*releasev1.Release{newest(history, anyOf), newest(history, applied), newest(history, wasGood), goodBeforeNewest(history)}
	var versions []int
	for _, r := range history {
		if !slices.Contains(keep, r) {
			versions = append(versions, r.Version)
		}
	}
	slices.Sort(versions)
	return versions[:max(0, min(len(versions), len(history)-(maxHistory-1)))]
}
