package cli

import (
	"regexp"
	"strconv"
	"strings"
)

// restMode maps the file's words for delivery modes to the API's.
var restMode = map[string]string{
	"ro_mount": "ReadOnlyMount", "rw_mount": "ReadWriteMount", "download": "Download", "direct": "Direct",
	"eval_mount": "EvalMount", "eval_download": "EvalDownload", "upload": "Upload",
}

func fileMode(rest string) string {
	for f, r := range restMode {
		if strings.EqualFold(r, rest) {
			return f
		}
	}
	return rest
}

// jobShape is a job as "ml job show" of the reference prints it: the YAML's own words.
func jobShape(r map[string]any) map[string]any {
	out, p := envelope(r), sub(r, "properties")
	out["type"] = strings.ToLower(text(p, "jobType"))
	for from, to := range map[string]string{
		"displayName": "display_name", "experimentName": "experiment_name", "description": "description", "command": "command",
		"status": "status", "environmentVariables": "environment_variables", "parameters": "parameters", "properties": "properties", "tags": "tags",
	} {
		if v := p[from]; v != nil {
			out[to] = v
		}
	}
	for from, to := range map[string]string{"codeId": "code", "environmentId": "environment", "computeId": "compute"} {
		if v := text(p, from); v != "" {
			out[to] = assetRef(v)
		}
	}
	if id := text(p, "codeId"); id != "" {
		out["code"] = "azureml:" + id
	}
	out["inputs"], out["outputs"] = inputShapes(sub(p, "inputs")), outputShapes(sub(p, "outputs"))
	addJobDetails(out, p)
	return out
}

func addJobDetails(out, p map[string]any) {
	if res := sub(p, "resources"); len(res) > 0 {
		m := map[string]any{}
		for k, v := range res {
			if v != nil {
				m[snake(k)] = v
			}
		}
		out["resources"] = m
	}
	if secs, ok := parseISODuration(text(p, "limits", "timeout")); ok {
		out["limits"] = map[string]any{"timeout": secs}
	}
	if d := sub(p, "distribution"); len(d) > 0 {
		m := map[string]any{}
		for k, v := range d {
			if v != nil && k != "distributionType" {
				m[snake(k)] = v
			}
		}
		m["type"] = strings.ToLower(text(d, "distributionType"))
		out["distribution"] = m
	}
	services := map[string]any{}
	for name, v := range sub(p, "services") {
		m := map[string]any{}
		if s, ok := v.(map[string]any); ok {
			for k, x := range s {
				if x != nil {
					m[snake(k)] = x
				}
			}
		}
		services[name] = m
	}
	if len(services) > 0 {
		out["services"] = services
	}
}

func inputShapes(in map[string]any) map[string]any {
	out := map[string]any{}
	for name, v := range in {
		i, _ := v.(map[string]any)
		if text(i, "jobInputType") == "literal" {
			out[name] = i["value"]
			continue
		}
		out[name] = map[string]any{"type": i["jobInputType"], "path": i["uri"], "mode": fileMode(text(i, "mode"))}
	}
	return out
}

func outputShapes(in map[string]any) map[string]any {
	out := map[string]any{}
	for name, v := range in {
		o, _ := v.(map[string]any)
		m := map[string]any{"type": o["jobOutputType"], "mode": fileMode(text(o, "mode"))}
		if u := text(o, "uri"); u != "" {
			m["path"] = u
		}
		out[name] = m
	}
	return out
}

var isoDuration = regexp.MustCompile(`^P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)(?:\.\d+)?S)?)?$`)

// parseISODuration reads days, hours, minutes and seconds as seconds.
func parseISODuration(s string) (int64, bool) {
	m := isoDuration.FindStringSubmatch(s)
	if m == nil || s == "P" {
		return 0, false
	}
	var total int64
	for i, unit := range []int64{86400, 3600, 60, 1} {
		if n, err := strconv.ParseInt(m[i+1], 10, 64); err == nil {
			total += n * unit
		}
	}
	return total, true
}

// isoSeconds writes seconds as an ISO 8601 duration.
func isoSeconds(n int64) string { return "PT" + strconv.FormatInt(n, 10) + "S" }
