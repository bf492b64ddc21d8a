package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"fairlead.dev/fairlead/api/arm"
)

// Wait follows a long-running operation to its end by Azure-AsyncOperation, Operation-Location or Location, or else by the
// resource's own provisioningState, and returns the final resource (empty for DELETE and POST). status is called with each
// state that is seen; it may be nil. A failed operation is returned as *arm.Error.
func (c *Client) Wait(ctx context.Context, res *Response, status func(string)) (json.RawMessage, error) {
	if status == nil {
		status = func(string) {}
	}
	for _, h := range []string{"Azure-AsyncOperation", "Operation-Location"} {
		if u := res.Header.Get(h); u != "" && res.Status != http.StatusNoContent {
			if err := c.waitOperation(ctx, u, res.Header, status); err != nil {
				return nil, err
			}
			return c.final(ctx, res)
		}
	}
	if u := res.Header.Get("Location"); u != "" && res.Status == http.StatusAccepted {
		return c.waitLocation(ctx, u, res.Header)
	}
	if res.Request.Method == http.MethodPut || res.Request.Method == http.MethodPatch {
		return c.waitProvisioned(ctx, res, status)
	}
	return res.Body, nil
}

func (c *Client) waitOperation(ctx context.Context, u string, h http.Header, status func(string)) error {
	for {
		if err := c.cfg.Sleep(ctx, retryAfter(h, time.Second)); err != nil {
			return err
		}
		res, err := c.Do(ctx, Request{Method: http.MethodGet, Path: u})
		if err != nil {
			return fmt.Errorf("following the operation: %w", err)
		}
		var op struct {
			Status string     `json:"status"`
			Error  *arm.Error `json:"error"`
		}
		if err := res.Decode(&op); err != nil {
			return err
		}
		status(op.Status)
		if done, err := settled(op.Status, op.Error); done {
			return err
		}
		h = res.Header
	}
}

func settled(state string, e *arm.Error) (bool, error) {
	switch strings.ToLower(state) {
	case "succeeded", "completed":
		return true, nil
	case "failed", "canceled", "cancelled":
		if e == nil || e.Code == "" {
			e = &arm.Error{Code: "Operation" + state, Message: "The operation ended as " + state + " without a reason."}
		}
		return true, e
	case "":
		return true, &arm.Error{Code: "InvalidOperation", Message: "The operation's answer has no status."}
	}
	return false, nil
}

func (c *Client) final(ctx context.Context, res *Response) (json.RawMessage, error) {
	if res.Request.Method != http.MethodPut && res.Request.Method != http.MethodPatch {
		return nil, nil
	}
	last, err := c.Do(ctx, Request{Method: http.MethodGet, Path: res.URL})
	if err != nil {
		return nil, err
	}
	return last.Body, nil
}

func (c *Client) waitLocation(ctx context.Context, u string, h http.Header) (json.RawMessage, error) {
	for {
		if err := c.cfg.Sleep(ctx, retryAfter(h, time.Second)); err != nil {
			return nil, err
		}
		res, err := c.Do(ctx, Request{Method: http.MethodGet, Path: u})
		if err != nil {
			return nil, fmt.Errorf("following the operation: %w", err)
		}
		if res.Status != http.StatusAccepted {
			return res.Body, nil
		}
		h = res.Header
	}
}

func (c *Client) waitProvisioned(ctx context.Context, res *Response, status func(string)) (json.RawMessage, error) {
	body := res.Body
	for {
		var r struct {
			Properties struct {
				ProvisioningState string `json:"provisioningState"`
			} `json:"properties"`
		}
		_ = json.Unmarshal(body, &r)
		state := strings.ToLower(r.Properties.ProvisioningState)
		if state != "creating" && state != "updating" && state != "provisioning" && state != "accepted" {
			return body, nil
		}
		status(r.Properties.ProvisioningState)
		if err := c.cfg.Sleep(ctx, retryAfter(res.Header, time.Second)); err != nil {
			return nil, err
		}
		next, err := c.Do(ctx, Request{Method: http.MethodGet, Path: res.URL})
		if err != nil {
			return nil, err
		}
		body = next.Body
	}
}

// Get reads one resource into out.
func (c *Client) Get(ctx context.Context, path, apiVersion string, out any) error {
	res, err := c.Do(ctx, Request{Method: http.MethodGet, Path: path, Query: url.Values{"api-version": {apiVersion}}})
	if err != nil {
		return err
	}
	return res.Decode(out)
}

// List reads a collection, all pages, at most limit items when limit is positive.
func (c *Client) List(ctx context.Context, path string, q url.Values, limit int) ([]map[string]any, error) {
	out := []map[string]any{}
	for path != "" {
		res, err := c.Do(ctx, Request{Method: http.MethodGet, Path: path, Query: q})
		if err != nil {
			return nil, err
		}
		var page struct {
			Value    []map[string]any `json:"value"`
			NextLink string           `json:"nextLink"`
		}
		if err := res.Decode(&page); err != nil {
			return nil, err
		}
		out = append(out, page.Value...)
		if limit > 0 && len(out) >= limit {
			return out[:limit], nil
		}
		if page.NextLink == path {
			break // a server that repeats itself must not hang the client
		}
		path, q = page.NextLink, nil
	}
	return out, nil
}
