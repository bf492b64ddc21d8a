// Package podenv names the environment variables by which the operator tells a job's pod what is not in its spec.
package podenv

// Names of variables.
const (
	// Rank is the pod's 0-based rank in its gang, Attempt how often the gang was started before.
	Rank    = "FAIRLEAD_RANK"
	Attempt = "FAIRLEAD_ATTEMPT"
	// PodUID tells this pod from any other that might claim the same attempt.
	PodUID = "FAIRLEAD_POD_UID"
	// Hosts is the host name of the gang's pods with HostRank in the place of the rank; empty for a single pod.
	Hosts = "FAIRLEAD_HOSTS"
	// NodeCount is the number of pods of the gang.
	NodeCount = "AZUREML_NODE_COUNT"
	// RetryHours bounds how long uploads wait for the control plane, in hours.
	RetryHours = "FAIRLEAD_RETRY_HOURS"
	// Mounts is the folder where the node's CSI driver mounts; empty where there is none, and mounts are served by copying.
	Mounts = "FAIRLEAD_MOUNTS"
	// MountCache bounds what mounts keep on the node's disk for reading, in MiB.
	MountCache = "FAIRLEAD_MOUNT_CACHE_MIB"
)

// HostRank stands for the rank in the value of Hosts.
const HostRank = "{rank}"
