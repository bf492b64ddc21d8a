package link

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// LogsPath is where a cluster posts lines of its containers' logs, and learns how far the control plane has them.
const LogsPath = "/link/v1/logs"

// MaxLogChunks bounds the chunks of one request. Its lines are bounded by MaxBody.
const MaxLogChunks = 500

// MaxLogLine bounds one line, in bytes; a collector cuts longer ones.
const MaxLogLine = 256 << 10

// LogStream is the log of one container from its start to its end.
type LogStream struct {
	Namespace string `json:"namespace"`
	Pod       string `json:"pod"`
	UID       string `json:"uid"`
	Container string `json:"container"`
	Restart   int    `json:"restart"`
	// Node is where it runs; Job and Workspace name the job that the pod belongs to, if it is one's.
	Node      string `json:"node,omitempty"`
	Job       string `json:"job,omitempty"`
	Workspace string `json:"workspace,omitempty"`
}

// Key tells streams of a cluster apart.
func (s LogStream) Key() string {
	return strings.Join([]string{s.Namespace, s.Pod, s.UID, s.Container, fmt.Sprint(s.Restart)}, "/")
}

// LogCursor is a place in a stream. A stream's files are told apart by the time of their first line, which stays when they are
// rotated and compressed; Offset counts the bytes of the file as it was written. The zero cursor is the beginning.
type LogCursor struct {
	File   string `json:"file,omitempty"`
	Offset int64  `json:"offset,omitempty"`
}

// LogLine is one line.
type LogLine struct {
	Time time.Time `json:"time"`
	// Source is stdout or stderr.
	Source string `json:"source,omitempty"`
	Text   string `json:"line"`
}

// LogChunk is what a stream has between two places. It is taken only if the control plane has everything up to From and nothing
// beyond, so that it may come again without harm. A chunk whose places are equal asks only.
type LogChunk struct {
	LogStream
	From  LogCursor `json:"from"`
	To    LogCursor `json:"to"`
	Lines []LogLine `json:"lines,omitempty"`
}

// LogsRequest is the body of a POST to LogsPath.
type LogsRequest struct {
	Chunks []LogChunk `json:"chunks"`
}

// LogsState is its answer: for each chunk, in their order, up to where the control plane has the stream now.
type LogsState struct {
	Cursors []LogCursor `json:"cursors"`
}

// PostLogs sends chunks and returns up to where the control plane has each of their streams.
func (c *Client) PostLogs(ctx context.Context, chunks []LogChunk) ([]LogCursor, error) {
	body, err := json.Marshal(LogsRequest{chunks})
	if err != nil {
		return nil, fmt.Errorf("encoding logs: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Silence)
	defer cancel()
	res, err := c.request(ctx, http.MethodPost, LogsPath, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	var state LogsState
	if err := json.NewDecoder(res.Body).Decode(&state); err != nil {
		return nil, fmt.Errorf("reading up to where logs are kept: %w", err)
	}
	if len(state.Cursors) != len(chunks) {
		return nil, fmt.Errorf("the control plane answered %d cursors to %d chunks", len(state.Cursors), len(chunks))
	}
	return state.Cursors, nil
}
