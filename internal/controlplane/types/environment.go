package types

import (
	"context"
	"regexp"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/api/machinelearning"
	"fairlead.dev/fairlead/internal/controlplane/resource"
)

// imageRule is the grammar of image references as far as it matters here: no spaces, no scheme, sensible characters.
var imageRule = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]*(:[0-9]+)?(/[a-z0-9][a-zA-Z0-9._-]*)*(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(@sha256:[0-9a-f]{64})?$`)

func environment(d Deps) []*resource.Type {
	return asset(d, assetKind{
		name: "environments", fixed: []string{"image", "inferenceConfig"},
		admit: func(_ context.Context, _ *resource.Put, props map[string]any) error {
			var v machinelearning.EnvironmentVersionProperties
			if err := decode(props, &v); err != nil {
				return err
			}
			if err := checkEnvironment(&v); err != nil {
				return err
			}
			v.Tags, v.Properties = orEmpty(v.Tags), orEmpty(v.Properties)
			v.EnvironmentType = "UserCreated"
			return overlay(props, v)
		},
	})
}

func checkEnvironment(v *machinelearning.EnvironmentVersionProperties) error {
	const works = "Give image: a reference of an image that holds all the job needs, such as docker.io/library/python:3.12."
	switch {
	case v.Build != nil:
		return arm.Invalid("properties.build", "properties.build is set, but images are not built in this release. Build it yourself and push it. %s", works)
	case v.CondaFile != nil && v.CondaFile != "":
		return arm.Invalid("properties.condaFile", "properties.condaFile is set, but images are not built from conda files in this release. %s", works)
	case v.Image == "":
		return arm.Invalid("properties.image", "properties.image is missing. %s", works)
	case len(v.Image) > 512 || !imageRule.MatchString(v.Image):
		return arm.Invalid("properties.image", "properties.image is %.600q, which is not an image reference (registry/name:tag or registry/name@sha256:…). %s", v.Image, works)
	}
	if err := checkInference(v.InferenceConfig); err != nil {
		return err
	}
	if v.OSType == "" {
		v.OSType = "Linux"
	}
	var err error
	v.OSType, err = enum("properties.osType", v.OSType, "Linux")
	return err
}

var routePath = regexp.MustCompile(`^/[A-Za-z0-9._~!$&'()*+,;=:@%/-]{0,255}$`)

// checkInference checks where an image answers; the scoring route is what there must be.
func checkInference(c *machinelearning.InferenceConfig) error {
	const at = "properties.inferenceConfig."
	switch {
	case c == nil:
		return nil
	case c.ScoringRoute == nil:
		return arm.Invalid(at+"scoringRoute", "%sscoringRoute is missing; give path and port where the image takes requests, such as {\"path\":\"/score\",\"port\":5001}.", at)
	}
	for _, r := range []struct {
		name  string
		route *machinelearning.Route
	}{{"livenessRoute", c.LivenessRoute}, {"readinessRoute", c.ReadinessRoute}, {"scoringRoute", c.ScoringRoute}} {
		switch {
		case r.route == nil:
		case !routePath.MatchString(r.route.Path):
			return arm.Invalid(at+r.name+".path", "%s%s.path is %.300q; it must begin with / and hold what a URL's path may, at most 256 characters.", at, r.name, r.route.Path)
		case r.route.Port < 1 || r.route.Port > 65535:
			return arm.Invalid(at+r.name+".port", "%s%s.port is %d; it must be 1 to 65535.", at, r.name, r.route.Port)
		}
	}
	return nil
}
