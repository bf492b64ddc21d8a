// Package routerload is what each inference router tells of the load it carries, for the operator that scales deployments.
package routerload

// Path and Port are where every router answers GET with a Report, inside the cluster only.
const (
	Path = "/load"
	Port = 9001
)

// Report is the load of one router process.
type Report struct {
	// Deployments by "<namespace>/<name of the OnlineDeployment object>".
	Deployments map[string]Load `json:"deployments"`
}

// Load is what one router carries for one deployment at this moment. The loads of all routers add up.
type Load struct {
	// Busy is how many requests pods of the deployment are answering.
	Busy int `json:"busy"`
	// Queued is how many requests wait for a pod.
	Queued int `json:"queued"`
	// Peak is the highest Busy + Queued since the report before this one to the same asker, so that short bursts are seen.
	Peak int `json:"peak"`
}
