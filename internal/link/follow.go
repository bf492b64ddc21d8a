package link

import "time"

// PodLine is one line of the stream of a KindFollow target: what a container of a pod has written, or an Event in its life.
type PodLine struct {
	// Time is when the line was written; of an Event, when it was seen.
	Time time.Time `json:"time"`
	// Pod is "" in events of the whole deployment.
	Pod       string `json:"pod,omitempty"`
	Container string `json:"container"`
	Text      string `json:"line,omitempty"`
	// Event is for people: that a pod has joined or ended, and how, or why it writes nothing.
	Event string `json:"event,omitempty"`
}
