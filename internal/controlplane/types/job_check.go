package types

import (
	"regexp"
	"strconv"
	"strings"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/api/machinelearning"
)

const (
	maxInstances   = 100
	maxRestarts    = 100
	maxProcesses   = 1024
	defaultShmSize = "2g"
)

var (
	ioName      = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,254}$`)
	envName     = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]{0,254}$`)
	shmRule     = regexp.MustCompile(`^[1-9][0-9]{0,14}[bkmgBKMG]$`)
	placeholder = regexp.MustCompile(`\$\{\{([^{}]*)\}\}`)
)

// checkJob checks all of a job that needs no look-up, and sets defaults.
func checkJob(j *machinelearning.CommandJob, name string) error {
	j.JobType = "Command"
	j.Tags, j.Properties, j.EnvironmentVariables = orEmpty(j.Tags), orEmpty(j.Properties), orEmpty(j.EnvironmentVariables)
	if j.ExperimentName == "" {
		j.ExperimentName = "Default"
	}
	if !assetName.MatchString(j.ExperimentName) {
		return arm.Invalid("properties.experimentName", "properties.experimentName is %q; it must be %s.", j.ExperimentName, assetHelp)
	}
	if j.DisplayName == "" {
		j.DisplayName = name
	}
	for k := range j.EnvironmentVariables {
		if !envName.MatchString(k) {
			return arm.Invalid("properties.environmentVariables", "properties.environmentVariables has the name %q; names are letters, digits, '_', '.' and '-', not beginning with a digit.", k)
		}
	}
	for _, check := range []func(*machinelearning.CommandJob) error{checkInputs, checkOutputs, checkCommand, checkResources,
		checkDistribution, checkLimits, checkIdentity, checkServices} {
		if err := check(j); err != nil {
			return err
		}
	}
	_, err := restarts(j)
	return err
}

func checkCommand(j *machinelearning.CommandJob) error {
	if strings.TrimSpace(j.Command) == "" {
		return arm.Invalid("properties.command", "properties.command is missing; give the shell command to run, such as \"python train.py\".")
	}
	if strings.ContainsRune(j.Command, 0) {
		return arm.Invalid("properties.command", "properties.command has a NUL character.")
	}
	for _, m := range placeholder.FindAllStringSubmatch(j.Command, -1) {
		kind, name, _ := strings.Cut(strings.TrimSpace(m[1]), ".")
		switch kind {
		case "inputs":
			if _, ok := j.Inputs[name]; !ok {
				return arm.Invalid("properties.command", "properties.command has %s, but the job has no input %q; its inputs are: %s.", m[0], name, oneOf(keys(j.Inputs)))
			}
		case "outputs":
			if _, ok := j.Outputs[name]; !ok {
				return arm.Invalid("properties.command", "properties.command has %s, but the job has no output %q; its outputs are: %s.", m[0], name, oneOf(keys(j.Outputs)))
			}
		default:
			return arm.Invalid("properties.command", "properties.command has %s; a placeholder is ${{inputs.<name>}} or ${{outputs.<name>}}.", m[0])
		}
	}
	return nil
}

// trimPlaceholders writes ${{ inputs.x }} as ${{inputs.x}}.
func trimPlaceholders(command string) string {
	return placeholder.ReplaceAllStringFunc(command, func(m string) string {
		return "${{" + strings.TrimSpace(m[3:len(m)-2]) + "}}"
	})
}

func checkResources(j *machinelearning.CommandJob) error {
	if j.Resources == nil {
		j.Resources = &machinelearning.JobResources{}
	}
	r := j.Resources
	if r.InstanceCount == nil {
		one := 1
		r.InstanceCount = &one
	}
	if n := *r.InstanceCount; n < 1 || n > maxInstances {
		return arm.Invalid("properties.resources.instanceCount", "properties.resources.instanceCount is %d; it must be 1 to %d.", n, maxInstances)
	}
	if r.ShmSize == "" {
		r.ShmSize = defaultShmSize
	}
	if !shmRule.MatchString(r.ShmSize) {
		return arm.Invalid("properties.resources.shmSize", "properties.resources.shmSize is %q; it must be a whole number above 0 with unit b, k, m or g, such as 2g.", r.ShmSize)
	}
	if r.DockerArgs != "" {
		return arm.Invalid("properties.resources.dockerArgs", "properties.resources.dockerArgs is %q; Kubernetes computes have no docker to give arguments to. Leave it out; instanceType and shmSize set a pod's resources.", r.DockerArgs)
	}
	if r.Properties == nil {
		r.Properties = map[string]any{}
	}
	return nil
}

// shmQuantity is shmSize as a Kubernetes quantity.
func shmQuantity(s string) string {
	n, unit := s[:len(s)-1], strings.ToLower(s[len(s)-1:])
	return n + map[string]string{"b": "", "k": "Ki", "m": "Mi", "g": "Gi"}[unit]
}

func checkDistribution(j *machinelearning.CommandJob) error {
	dist := j.Distribution
	if dist == nil {
		return nil
	}
	var err error
	const at = "properties.distribution."
	if dist.DistributionType, err = enum(at+"distributionType", dist.DistributionType, "PyTorch", "Mpi", "TensorFlow"); err != nil {
		return err
	}
	if dist.DistributionType != "TensorFlow" {
		if dist.ProcessCountPerInstance == nil {
			one := 1
			dist.ProcessCountPerInstance = &one
		}
		if n := *dist.ProcessCountPerInstance; n < 1 || n > maxProcesses {
			return arm.Invalid(at+"processCountPerInstance", "%sprocessCountPerInstance is %d; it must be 1 to %d.", at, n, maxProcesses)
		}
		if i, n := *j.Resources.InstanceCount, *dist.ProcessCountPerInstance; dist.DistributionType == "Mpi" && (i > 1 || n > 1) {
			return arm.Invalid(at+"distributionType", "%sdistributionType is Mpi with properties.resources.instanceCount %d and processCountPerInstance %d; this release starts Mpi jobs as one process only. Give PyTorch for several processes, or set both counts to 1.",
				at, i, n)
		}
		return nil
	}
	ps := 0
	if dist.ParameterServerCount == nil {
		dist.ParameterServerCount = &ps
	}
	if dist.WorkerCount == nil {
		workers := *j.Resources.InstanceCount - *dist.ParameterServerCount
		dist.WorkerCount = &workers
	}
	w, p := *dist.WorkerCount, *dist.ParameterServerCount
	if w < 1 || p < 0 || w+p != *j.Resources.InstanceCount {
		return arm.Invalid(at+"workerCount", "%d workers and %d parameter servers do not make the %d instances of properties.resources.instanceCount; each instance is one worker or one parameter server, and at least one is a worker.",
			w, p, *j.Resources.InstanceCount)
	}
	return nil
}

func checkLimits(j *machinelearning.CommandJob) error {
	l := j.Limits
	if l == nil {
		return nil
	}
	if l.JobLimitsType == "" {
		l.JobLimitsType = "Command"
	}
	var err error
	if l.JobLimitsType, err = enum("properties.limits.jobLimitsType", l.JobLimitsType, "Command"); err != nil {
		return err
	}
	if l.Timeout == "" {
		return nil
	}
	if _, err := parseISODuration(l.Timeout); err != nil {
		return arm.Invalid("properties.limits.timeout", "properties.limits.timeout: %v.", err)
	}
	return nil
}

func checkIdentity(j *machinelearning.CommandJob) error {
	if j.Identity == nil || j.Identity.IdentityType == "" {
		j.Identity = nil
		return nil
	}
	const at = "properties.identity.identityType"
	var err error
	if j.Identity.IdentityType, err = enum(at, j.Identity.IdentityType, machinelearning.IdentityAMLToken, machinelearning.IdentityManaged, machinelearning.IdentityUser); err != nil {
		return err
	}
	switch j.Identity.IdentityType {
	case machinelearning.IdentityUser:
		return arm.Invalid(at, "%s is %s: a job runs while its user is away, and no token of a user is kept. Give %s, and give the compute's identity the roles that the job needs.",
			at, machinelearning.IdentityUser, machinelearning.IdentityManaged)
	case machinelearning.IdentityAMLToken:
		j.Identity = &machinelearning.JobIdentity{IdentityType: machinelearning.IdentityAMLToken}
	}
	return nil
}

func checkServices(j *machinelearning.CommandJob) error {
	for name, s := range j.Services {
		if s != nil && !strings.EqualFold(s.JobServiceType, "Studio") && !strings.EqualFold(s.JobServiceType, "Tracking") {
			return arm.Invalid("properties.services."+name, "properties.services.%s is of type %q; interactive services are not available in this release. Leave it out.", name, s.JobServiceType)
		}
	}
	return nil
}

// restarts is how often the job may start again after a node was lost.
func restarts(j *machinelearning.CommandJob) (int32, error) {
	s, given := j.Properties[machinelearning.PropMaxRestarts]
	if !given {
		return 0, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > maxRestarts {
		return 0, arm.Invalid("properties.properties", "properties.properties[%q] is %q; it must be a whole number from 0 to %d.", machinelearning.PropMaxRestarts, s, maxRestarts)
	}
	return int32(n), nil
}
