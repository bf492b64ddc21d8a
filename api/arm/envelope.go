package arm

import (
	"encoding/json"
	"time"
)

// Resource is the envelope that every resource has on the wire. Properties stay raw: their shape is the type's.
type Resource struct {
	ID         string            `json:"id,omitempty"`
	Name       string            `json:"name,omitempty"`
	Type       string            `json:"type,omitempty"`
	Location   string            `json:"location,omitempty"`
	Tags       map[string]string `json:"tags,omitempty"`
	Kind       string            `json:"kind,omitempty"`
	SKU        json.RawMessage   `json:"sku,omitempty"`
	Identity   json.RawMessage   `json:"identity,omitempty"`
	Properties json.RawMessage   `json:"properties,omitempty"`
	SystemData *SystemData       `json:"systemData,omitempty"`
	// ETag is sent back in If-Match to write only over what was read.
	ETag string `json:"etag,omitempty"`
}

// SystemData says who made and last changed a resource, and when.
type SystemData struct {
	CreatedBy          string `json:"createdBy,omitempty"`
	CreatedByType      string `json:"createdByType,omitempty"`
	CreatedAt          string `json:"createdAt,omitempty"`
	LastModifiedBy     string `json:"lastModifiedBy,omitempty"`
	LastModifiedByType string `json:"lastModifiedByType,omitempty"`
	LastModifiedAt     string `json:"lastModifiedAt,omitempty"`
}

// Page is one page of a list; NextLink is the absolute address of the next one, "" on the last.
type Page struct {
	Value    []json.RawMessage `json:"value"`
	NextLink string            `json:"nextLink,omitempty"`
}

// TimeFormat is how times are written: RFC 3339 in UTC with microseconds.
const TimeFormat = "2006-01-02T15:04:05.000000Z"

// FormatTime writes t in TimeFormat, and "" for the zero time.
func FormatTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(TimeFormat)
}
