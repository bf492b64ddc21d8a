package types

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/api/machinelearning"
	"fairlead.dev/fairlead/internal/controlplane/resource"
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
	st, err := serving.DecodeDeployment(a.Record)
	if err != nil {
		return nil, err
	}
	t := link.Target{Kind: link.KindLog, Namespace: st.Namespace, Deployment: v1alpha1.DeploymentObjectName(st.Spec.Endpoint, st.Spec.Name),
		Container: map[string]string{"InferenceServer": v1alpha1.ServingContainer, "StorageInitializer": v1alpha1.FetchContainer}[typ], Tail: tail}
	text, err := d.readLog(ctx, st.Cluster, t)
	return machinelearning.DeploymentLogs{Content: text}, err
}

func (d Deps) readLog(ctx context.Context, cluster string, t link.Target) (string, error) {
	conn, err := d.OpenRelay(ctx, cluster, t)
	if refused, ok := errors.AsType[*link.RefusedError](err); ok {
		return "", arm.Errorf(http.StatusConflict, "ResourceNotReady", "There is no log: %s.", refused.Message)
	}
	if err != nil {
		name := cluster[strings.LastIndexByte(cluster, '/')+1:]
		return "", &arm.Error{Status: http.StatusServiceUnavailable, Code: "InferencingClientCallFailed", Cause: err,
			Message: fmt.Sprintf("Logs are read from the cluster itself, and the k8s-extension of cluster %s isn't connectable now. Check the pods of relayserver: kubectl get po -n azureml.", name)}
	}
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
