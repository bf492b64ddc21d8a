package types

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/api/machinelearning"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types/serving"
	"fairlead.dev/fairlead/internal/link"
)

const (
	defaultTail = 5000
	// maxLogBytes bounds the answer of getLogs; logTime how long reading it may take.
	maxLogBytes = 4 << 20
	logTime     = 30 * time.Second
)

// deploymentLogs reads what a container of the deployment's pods has written, from the cluster, now.
func (d Deps) deploymentLogs(ctx context.Context, a *resource.Call) (any, error) {
	var req machinelearning.DeploymentLogsRequest
	if len(a.Body) > 0 {
		if err := json.Unmarshal(a.Body, &req); err != nil {
			return nil, arm.Invalid("", "The body cannot be read: %v. It is {\"containerType\":\"InferenceServer\",\"tail\":100}.", err)
		}
	}
	if req.ContainerType == "" {
		req.ContainerType = "InferenceServer"
	}
	typ, err := enum("containerType", req.ContainerType, "InferenceServer", "StorageInitializer")
	if err != nil {
		return nil, err
	}
	tail := defaultTail
	if req.Tail != nil {
		tail = *req.Tail
	}
	if tail < 1 || tail > link.MaxTail {
		return nil, arm.Invalid("tail", "tail is %d; it must be 1 to %d.", tail, link.MaxTail)
	}
	conn, t, err := d.openLog(ctx, a.Record, link.Target{Kind: link.KindLog, Tail: tail,
		Container: map[string]string{"InferenceServer": v1alpha1.ServingContainer, "StorageInitializer": v1alpha1.FetchContainer}[typ]})
	if err != nil {
		return nil, err
	}
	text, err := readLog(ctx, conn, t)
	return machinelearning.DeploymentLogs{Content: text}, err
}

// liveLogs follows a container in all pods that the deployment has and gets: GET <deployment>/logs?follow=true.
func (d Deps) liveLogs(ctx context.Context, rec store.Record, query map[string]string) (io.ReadCloser, error) {
	t, err := followTarget(query, d.Clock())
	if err != nil {
		return nil, err
	}
	conn, _, err := d.openLog(ctx, rec, t)
	return conn, err
}

// followParameters are those that a follower may give.
var followParameters = []string{"container", "tail", "since", "follow", "api-version"}

func followTarget(q map[string]string, now time.Time) (link.Target, error) {
	t := link.Target{Kind: link.KindFollow, Container: v1alpha1.ServingContainer, Tail: defaultTail}
	for name := range q {
		if !slices.Contains(followParameters, strings.ToLower(name)) {
			return t, arm.Invalid(name, "There is no parameter %.40q. There are: %s.", name, strings.Join(followParameters, ", "))
		}
	}
	var err error
	if follow, err := strconv.ParseBool(q["follow"]); err != nil || !follow {
		return t, arm.Invalid("follow", "follow=%.20q is not true. The logs of a deployment are followed here; what there is now is had from POST getLogs.", q["follow"])
	}
	if v := q["container"]; v != "" {
		if t.Container, err = enum("container", v, v1alpha1.ServingContainer, v1alpha1.FetchContainer); err != nil {
			return t, err
		}
	}
	if v := q["tail"]; v != "" {
		if t.Tail, err = strconv.Atoi(v); err != nil || t.Tail < 0 || t.Tail > link.MaxTail {
			return t, arm.Invalid("tail", "tail=%.20q is not a number from 0 to %d.", v, link.MaxTail)
		}
	}
	t.Since, err = resource.Moment("since", q["since"], now)
	return t, err
}

// openLog reaches a log of the deployment in its cluster. The caller closes the connection.
func (d Deps) openLog(ctx context.Context, rec store.Record, t link.Target) (net.Conn, link.Target, error) {
	st, err := serving.DecodeDeployment(rec)
	if err != nil {
		return nil, t, err
	}
	t.Namespace, t.Deployment = st.Namespace, v1alpha1.DeploymentObjectName(st.Spec.Endpoint, st.Spec.Name)
	conn, err := d.OpenRelay(ctx, st.Cluster, t)
	if refused, ok := errors.AsType[*link.RefusedError](err); ok {
		return nil, t, arm.Errorf(http.StatusConflict, "ResourceNotReady", "There is no log: %s.", refused.Message)
	}
	if err != nil {
		name := st.Cluster[strings.LastIndexByte(st.Cluster, '/')+1:]
		return nil, t, &arm.Error{Status: http.StatusServiceUnavailable, Code: "InferencingClientCallFailed", Cause: err,
			Message: fmt.Sprintf("Logs are read from the cluster itself, and the k8s-extension of cluster %s isn't connectable now. Check the pods of relayserver: kubectl get po -n azureml.", name)}
	}
	return conn, t, nil
}

func readLog(ctx context.Context, conn net.Conn, t link.Target) (string, error) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(logTime))
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	var text strings.Builder
	if _, err := io.Copy(&text, io.LimitReader(conn, maxLogBytes)); err != nil && text.Len() == 0 {
		return "", fmt.Errorf("reading %s: %w", t, err)
	}
	return strings.ToValidUTF8(text.String(), "\uFFFD"), nil
}
