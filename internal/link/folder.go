package link

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// FolderPath is where a cluster asks how to reach the datastore that a claim's folder is in.
const FolderPath = "/link/v1/folder"

// FolderRequest is the body of a POST to FolderPath: a claim in a namespace of the cluster, which acts as a compute that has the namespace.
type FolderRequest struct {
	// Compute is the compute's resource id, Datastore the name of a datastore of its workspace; "" is the default one.
	Compute   string `json:"compute"`
	Datastore string `json:"datastore,omitempty"`
	Namespace string `json:"namespace"`
	// Write asks for the right to write, too.
	Write bool `json:"write,omitempty"`
}

// Folder is the answer: where the datastore's root is, and a token of the compute's identity, good for ExpiresIn seconds.
type Folder struct {
	URL string `json:"url"`
	// BlobBase is the prefix of addresses that get the token.
	BlobBase  string `json:"blobBase"`
	Token     string `json:"token"`
	ExpiresIn int    `json:"expiresIn"`
}

// Folder asks for the way to a datastore. A refusal is a StatusError, with the message alone: people read it.
func (c *Client) Folder(ctx context.Context, q FolderRequest) (Folder, error) {
	var f Folder
	body, err := json.Marshal(q)
	if err != nil {
		return f, fmt.Errorf("encoding the question for a datastore: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Silence)
	defer cancel()
	res, err := c.request(ctx, http.MethodPost, FolderPath, bytes.NewReader(body))
	if se, ok := errors.AsType[*StatusError](err); ok {
		var body struct {
			Error struct{ Message string }
		}
		if json.Unmarshal([]byte(se.Message), &body) == nil && body.Error.Message != "" {
			se.Message = body.Error.Message
		}
	}
	if err != nil {
		return f, err
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(&f); err != nil {
		return f, fmt.Errorf("reading the way to a datastore: %w", err)
	}
	return f, nil
}
