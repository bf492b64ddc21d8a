package arm

import (
	"encoding/json"
	"strings"
)

// States of an operation and of properties.provisioningState.
const (
	StateCreating  = "Creating"
	StateUpdating  = "Updating"
	StateDeleting  = "Deleting"
	StateSucceeded = "Succeeded"
	StateFailed    = "Failed"
	StateCanceled  = "Canceled"
)

// OperationStatus is the body that Azure-AsyncOperation points to.
type OperationStatus struct {
	// ID is the path of the operation itself, Name its last segment.
	ID     string `json:"id"`
	Name   string `json:"name"`
	Status string `json:"status"`
	// StartTime and EndTime are in TimeFormat; EndTime is absent while the operation runs.
	StartTime  string          `json:"startTime,omitempty"`
	EndTime    string          `json:"endTime,omitempty"`
	Error      *Error          `json:"error,omitempty"`
	Properties json.RawMessage `json:"properties,omitempty"`
}

// Terminal reports whether an operation or a provisioning state is final.
func Terminal(state string) bool {
	switch strings.ToLower(state) {
	case "succeeded", "failed", "canceled":
		return true
	}
	return false
}
