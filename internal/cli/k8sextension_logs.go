package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

var logStreamColumns = cols("Namespace=namespace", "Pod=pod", "Container=container", "Restart=restart", "Job=job", "LastLineTime=lastLineTime", "Bytes=bytes")

// logFlags select lines of an extension's cluster.
type logFlags struct {
	extensionTarget
	namespace, pod, container, job, workspace string
	since, until, search                      string
	tail                                      int
	follow                                    bool
}

func (a *app) logFlags(c *cobra.Command, f *logFlags) {
	a.extensionFlags(c, &f.extensionTarget, true)
	fs := c.Flags()
	fs.StringVar(&f.namespace, "namespace", "", "only of this Kubernetes `namespace`")
	fs.StringVar(&f.pod, "pod", "", "only of this `pod`")
	fs.StringVar(&f.container, "container", "", "only of `container`s of this name")
	fs.StringVar(&f.job, "job", "", "only of the pods of this `job`")
	fs.StringVarP(&f.workspace, "workspace-name", "w", "", "only of jobs of this `workspace`")
	fs.StringVar(&f.since, "since", "", "only from this `time` on (2026-03-04T05:06:07Z), or so long ago (90m)")
	fs.StringVar(&f.until, "until", "", "only before this `time`, or so long ago")
}

// query is the flags as the control plane reads them.
func (f *logFlags) query() url.Values {
	q := url.Values{"api-version": {apiExtension}}
	for name, value := range map[string]string{"namespace": f.namespace, "pod": f.pod, "container": f.container, "job": f.job, "workspace": f.workspace,
		"since": f.since, "until": f.until, "search": f.search} {
		if value != "" {
			q.Set(name, value)
		}
	}
	return q
}

func (a *app) k8sExtensionLogs() *cobra.Command {
	var f logFlags
	c := a.leaf(&cobra.Command{
		Use: "logs", Short: "Show, search and follow the logs of an extension and its workloads",
		Long: `Show lines that were collected in the cluster, by time; they are kept when their pods are gone. With the extension's setting
logAnalyticsWS=True all lines of the extension and of workloads are collected, otherwise the extension's warnings and errors.
The output is text; -o json gives one JSON object a line.`,
		Example: `  fairlead k8s-extension logs -n arcml -c C -t connectedClusters -g G --since 1h --search 'error|warn'
  fairlead k8s-extension logs -n arcml -c C -t connectedClusters -g G --job NAME -f`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q := f.query()
			q.Set("tail", strconv.Itoa(f.tail))
			if f.follow {
				q.Set("follow", "true")
			}
			return a.runLogs(cmd.Context(), &f, q, cmd.Flags().Changed("output"))
		},
	})
	a.logFlags(c, &f)
	c.Flags().StringVar(&f.search, "search", "", "only lines that match this regular `expression`")
	c.Flags().IntVar(&f.tail, "tail", 1000, "at most this `number` of the newest lines")
	c.Flags().BoolVarP(&f.follow, "follow", "f", false, "go on with new lines until interrupted")
	return c
}

func (a *app) k8sExtensionLogStreams() *cobra.Command {
	var f logFlags
	c := a.leaf(&cobra.Command{
		Use: "log-streams", Short: "List the containers whose logs are kept",
		Example: "  fairlead k8s-extension log-streams -n arcml -c C -t connectedClusters -g G --job NAME -o table",
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, path, err := a.logsPath(&f, "logStreams")
			if err != nil {
				return err
			}
			items, err := s.List(cmd.Context(), path, f.query(), 0)
			if err != nil {
				return err
			}
			return a.print(items, logStreamColumns...)
		},
	})
	a.logFlags(c, &f)
	return c
}

func (a *app) logsPath(f *logFlags, what string) (*session, string, error) {
	s, cluster, err := a.cluster(&f.extensionTarget, true)
	if err != nil {
		return nil, "", err
	}
	path, err := extensionPath(cluster, f.name)
	return s, path + "/" + what, err
}

func (a *app) runLogs(ctx context.Context, f *logFlags, q url.Values, formatted bool) error {
	if formatted && a.output != "json" {
		return usagef("argument --output/-o: logs are text, or json with one object a line; not %q", a.output)
	}
	s, path, err := a.logsPath(f, "logs")
	if err != nil {
		return err
	}
	res, err := s.Stream(ctx, path, q)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.Header.Get("X-Fairlead-Earlier-Lines") == "true" && f.tail > 0 {
		a.note("There are earlier lines: ask for more with --tail, or for those before a time with --until.")
	}
	lines := bufio.NewReader(res.Body)
	for {
		line, err := lines.ReadBytes('\n')
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, io.EOF) && len(line) == 0:
			return nil
		case err != nil:
			return fmt.Errorf("reading logs: the connection broke; run the command again: %w", err)
		}
		if !formatted {
			if line, err = plainLine(line); err != nil {
				return err
			}
		}
		if _, err := a.deps.Stdout.Write(line); err != nil {
			return err
		}
	}
}

// plainLine is a line as a person reads it.
func plainLine(raw []byte) ([]byte, error) {
	var l struct {
		Time           time.Time
		Pod, Container string
		Line           string
	}
	if err := json.Unmarshal(raw, &l); err != nil {
		return nil, fmt.Errorf("reading logs: %w", err)
	}
	return fmt.Appendf(nil, "%s %s/%s %s\n", l.Time.Format("2006-01-02T15:04:05.000Z07:00"), l.Pod, l.Container, l.Line), nil
}
