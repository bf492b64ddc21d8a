package logs

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"fairlead.dev/fairlead/internal/link"
)

// podFolder is <namespace>_<pod>_<uid>; none of the three has an underscore.
var podFolder = regexp.MustCompile(`^([^_]+)_([^_]+)_([^_]+)$`)

// scan brings the streams up to date with the folders.
func (c *Collector) scan(ctx context.Context) error {
	entries, err := os.ReadDir(c.cfg.Dir)
	if err != nil {
		return fmt.Errorf("reading the kubelet's logs: %w", err)
	}
	var folders []string
	for _, e := range entries {
		if podFolder.MatchString(e.Name()) {
			folders = append(folders, e.Name())
		}
	}
	if err := c.learn(ctx, folders); err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, folder := range folders {
		if c.ours(folder) {
			c.scanPod(folder, seen)
		}
	}
	for key, s := range c.streams {
		s.gone = !seen[key]
	}
	return nil
}

func (c *Collector) own(folder string) bool {
	namespace, _, _ := strings.Cut(folder, "_")
	return slices.Contains(c.cfg.Namespaces, namespace)
}

// ours says whether a pod's logs are collected.
func (c *Collector) ours(folder string) bool {
	return c.own(folder) || c.cfg.Everything && !c.strangers[folder]
}

// learn asks Kubernetes about pods that are new here, and forgets those whose folder is gone.
func (c *Collector) learn(ctx context.Context, folders []string) error {
	if !c.cfg.Everything {
		return nil
	}
	here := map[string]bool{}
	ask := false
	for _, folder := range folders {
		uid := podFolder.FindStringSubmatch(folder)[3]
		here[uid], here[folder] = true, true
		_, known := c.pods[uid]
		ask = ask || !known && !c.own(folder) && !c.strangers[folder]
	}
	for uid := range c.pods {
		if !here[uid] {
			delete(c.pods, uid)
		}
	}
	for folder := range c.strangers {
		if !here[folder] {
			delete(c.strangers, folder)
		}
	}
	if !ask {
		return nil
	}
	pods, err := c.cfg.Pods(ctx)
	if err != nil {
		return fmt.Errorf("listing the node's pods: %w", err)
	}
	for _, folder := range folders {
		uid := podFolder.FindStringSubmatch(folder)[3]
		if p, exists := pods[uid]; exists && p.Workload {
			c.pods[uid] = p
		} else if exists && !c.own(folder) {
			c.strangers[folder] = true
		}
	}
	return nil
}

var logFile = regexp.MustCompile(`^(\d+)\.log(?:\..+)?$`)

// scanPod finds the streams of a pod.
func (c *Collector) scanPod(folder string, seen map[string]bool) {
	names := podFolder.FindStringSubmatch(folder)
	pod, known := c.pods[names[3]]
	files, _ := filepath.Glob(filepath.Join(c.cfg.Dir, folder, "*", "*.log*"))
	for _, file := range files {
		m := logFile.FindStringSubmatch(filepath.Base(file))
		if m == nil {
			continue
		}
		restart, err := strconv.Atoi(m[1])
		if err != nil {
			continue
		}
		dir := filepath.Dir(file)
		id := link.LogStream{Namespace: names[1], Pod: names[2], UID: names[3], Container: filepath.Base(dir), Restart: restart, Node: c.cfg.Node, Job: pod.Job, Workspace: pod.Workspace}
		if key := id.Key(); !seen[key] {
			seen[key] = true
			if c.streams[key] == nil {
				c.streams[key] = &stream{id: id, folder: folder, base: filepath.Join(dir, m[1]+".log"), unknown: !known && !c.own(folder), settle: c.cfg.Every}
			}
		}
	}
}
