package spec

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// DataTypes are the types of inputs and outputs.
var DataTypes = []string{"uri_folder", "uri_file", "mltable", "mlflow_model", "custom_model"}

var (
	inputModes = []string{"ro_mount", "rw_mount", "download", "direct"}
	noTypes    = map[string]string{"triton_model": "custom_model takes any model"}
	noModes    = map[string]string{"eval_mount": "one of " + strings.Join(inputModes, ", "), "eval_download": "one of " + strings.Join(inputModes, ", ")}
)

func (j *CommandJob) inputs(d *decoder, n *yaml.Node, path string) {
	j.Inputs = map[string]Input{}
	for _, p := range d.named(n, path) {
		j.Inputs[p.key.Value] = d.input(p.value, join(path, p.key.Value))
	}
}

// named gives the entries of a mapping whose keys are parameter names.
func (d *decoder) named(n *yaml.Node, path string) (out []pair) {
	if n.Kind != yaml.MappingNode {
		d.fail(n, "%s: must be a mapping of names to entries, not %s", path, kindName(n))
		return out
	}
	for _, p := range d.pairs(n, path, 0) {
		if !paramName.MatchString(p.key.Value) {
			d.fail(p.key, "%s: %q is not a name: letters, digits and _, not beginning with a digit", path, p.key.Value)
			continue
		}
		if v := resolve(p.value); v != nil {
			out = append(out, pair{p.key, v})
		}
	}
	return out
}

func (d *decoder) input(n *yaml.Node, path string) Input {
	in := Input{Line: n.Line}
	switch n.Kind {
	case yaml.ScalarNode:
		if n.Tag == "!!null" {
			d.fail(n, "%s: has no value", path)
		}
		in.Literal, in.Value = true, n.Value
		return in
	case yaml.SequenceNode:
		d.fail(n, "%s: must be a literal or a mapping with type and path, not a list", path)
		return in
	}
	var ignore string
	before := len(d.problems)
	d.object(n, path, fields{
		"type": choiceBut(&in.Type, noTypes, DataTypes...), "path": text(&in.Path), "description": text(&ignore),
		"mode": choiceBut(&in.Mode, noModes, inputModes...),
	})
	if in.Type == "" {
		in.Type = "uri_folder"
	}
	if in.Mode == "" {
		in.Mode = "ro_mount"
	}
	if in.Mode == "rw_mount" && !strings.HasPrefix(in.Path, "azureml://") && len(d.problems) == before {
		d.fail(n, "%s.mode: rw_mount changes the folder itself, which must be azureml://datastores/<datastore>/paths/<folder>; use download for a copy that the command may change", path)
	}
	if strings.TrimSpace(in.Path) == "" && len(d.problems) == before {
		d.fail(n, "%s.path: is required: a local path, azureml:<data>:<version>, azureml://datastores/… or https://…", path)
	}
	return in
}

func (j *CommandJob) outputs(d *decoder, n *yaml.Node, path string) {
	j.Outputs = map[string]Output{}
	for _, p := range d.named(n, path) {
		name, v := p.key.Value, p.value
		out := Output{Type: "uri_folder", Mode: "rw_mount"}
		sub := join(path, name)
		if name == "default" {
			d.fail(p.key, "%s: the name default is taken; give the output another name", sub)
		}
		switch {
		case v.Kind == yaml.MappingNode:
			d.object(v, sub, fields{
				"type": choiceBut(&out.Type, noTypes, DataTypes...), "path": text(&out.Path),
				"mode": choice(&out.Mode, "rw_mount", "upload", "direct"),
				"name": idle(text(&out.Name), ": nothing is registered; register it when the job has ended, with `fairlead ml model create` or `fairlead ml data create`"), "version": text(&out.Version), "description": text(new(string)),
			})
			if out.Path != "" && !strings.HasPrefix(out.Path, "azureml://") {
				d.fail(v, "%s.path: %q is not a place for output; want azureml://datastores/<name>/paths/<folder>", sub, out.Path)
			}
		case v.Tag != "!!null":
			d.fail(v, "%s: must be a mapping with type and mode, not %s", sub, kindName(v))
		}
		j.Outputs[name] = out
	}
}
