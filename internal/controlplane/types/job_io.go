package types

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/api/commonruntime"
	"fairlead.dev/fairlead/api/machinelearning"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types/uri"
)

const (
	modeReadWrite = "ReadWriteMount"
	// uploadFolder is where clients put local data in blobStore, by its content.
	uploadFolder = "LocalUpload"
)

var (
	inputTypes  = []string{"literal", "uri_file", "uri_folder", "mltable", "mlflow_model", "custom_model"}
	inputModes  = []string{"ReadOnlyMount", modeReadWrite, "Download", "Direct"}
	outputTypes = []string{"uri_file", "uri_folder", "mltable", "mlflow_model", "custom_model"}
	outputModes = []string{modeReadWrite, "Upload", "Direct"}
)

func checkInputs(j *machinelearning.CommandJob) error {
	if j.Inputs == nil {
		j.Inputs = map[string]*machinelearning.JobInput{}
	}
	for _, name := range keys(j.Inputs) {
		at := "properties.inputs." + name
		in := j.Inputs[name]
		if !ioName.MatchString(name) {
			return arm.Invalid("properties.inputs", "properties.inputs has the name %q; names are letters, digits and '_', not beginning with a digit.", name)
		}
		if in == nil {
			return arm.Invalid(at, "%s is null; give jobInputType with value or uri.", at)
		}
		var err error
		if in.JobInputType, err = enum(at+".jobInputType", in.JobInputType, inputTypes...); err != nil {
			return err
		}
		if in.JobInputType == "literal" {
			if err := checkLiteral(at, in); err != nil {
				return err
			}
			continue
		}
		if in.Mode == "" {
			in.Mode = inputModes[0]
		}
		if in.Mode, err = enum(at+".mode", in.Mode, inputModes...); err != nil {
			return err
		}
		if in.URI == "" {
			return arm.Invalid(at+".uri", "%s.uri is missing; give %s.", at, uri.Help)
		}
	}
	return nil
}

func checkLiteral(at string, in *machinelearning.JobInput) error {
	switch v := in.Value.(type) {
	case string:
	case bool, float64:
		raw, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("encoding %s: %w", at, err)
		}
		in.Value = string(raw)
	default:
		return arm.Invalid(at+".value", "%s.value is %s; a literal is a string, a number or a boolean.", at, jsonKind(in.Value))
	}
	if strings.ContainsRune(in.Value.(string), 0) {
		return arm.Invalid(at+".value", "%s.value has a NUL character.", at)
	}
	return nil
}

func checkOutputs(j *machinelearning.CommandJob) error {
	if j.Outputs == nil {
		j.Outputs = map[string]*machinelearning.JobOutput{}
	}
	for _, name := range keys(j.Outputs) {
		at := "properties.outputs." + name
		out := j.Outputs[name]
		if !ioName.MatchString(name) || name == "default" {
			return arm.Invalid("properties.outputs", "properties.outputs has the name %q; names are letters, digits and '_', not beginning with a digit, and \"default\" is taken.", name)
		}
		if _, both := j.Inputs[name]; both {
			return arm.Invalid(at, "%q is the name of an input and of an output; rename one.", name)
		}
		if out == nil {
			out = &machinelearning.JobOutput{}
			j.Outputs[name] = out
		}
		if out.JobOutputType == "" {
			out.JobOutputType = "uri_folder"
		}
		var err error
		if out.JobOutputType, err = enum(at+".jobOutputType", out.JobOutputType, outputTypes...); err != nil {
			return err
		}
		if out.Mode == "" {
			out.Mode = outputModes[0]
		}
		if out.Mode, err = enum(at+".mode", out.Mode, outputModes...); err != nil {
			return err
		}
	}
	return nil
}

// defaultOutputs gives outputs without address their place in the workspace's default datastore.
func defaultOutputs(j *machinelearning.CommandJob, folder string) {
	for name, out := range j.Outputs {
		if out.URI == "" {
			out.URI = "azureml://datastores/" + blobStore + "/paths/" + outputPath(folder, name, out.JobOutputType == "uri_file")
		}
	}
}

// resolveInputs looks up where each input is.
func (d Deps) resolveInputs(ctx context.Context, r store.Reader, ws arm.ID, j *machinelearning.CommandJob) (map[string]commonruntime.Input, error) {
	out := make(map[string]commonruntime.Input, len(j.Inputs))
	for _, name := range keys(j.Inputs) {
		in := j.Inputs[name]
		if in.JobInputType == "literal" {
			out[name] = commonruntime.Input{Type: in.JobInputType, Value: in.Value.(string)}
			continue
		}
		u, err := d.inputURL(ctx, r, ws, "properties.inputs."+name+".uri", in)
		if err != nil {
			return nil, err
		}
		write := in.Mode == modeReadWrite
		if err := checkWritable("properties.inputs."+name, in); write && err != nil {
			return nil, err
		}
		out[name] = commonruntime.Input{Type: in.JobInputType, URL: u, Mode: in.Mode, Write: write}
	}
	return out, nil
}

// checkWritable refuses to have an input changed that others rely on: what was uploaded is found again by its content, an asset's version
// stays what it is, and so does what another job left.
func checkWritable(at string, in *machinelearning.JobInput) error {
	ref, err := uri.Parse(in.URI)
	if err != nil {
		return arm.Invalid(at+".uri", "%s.uri: %v.", at, err)
	}
	uploaded := strings.EqualFold(ref.Name, blobStore) && (ref.Path == uploadFolder || strings.HasPrefix(ref.Path, uploadFolder+"/"))
	switch {
	case in.JobInputType != "uri_folder":
		return arm.Invalid(at+".mode", "%s.mode is ReadWriteMount, but its jobInputType is %s; only a uri_folder is mounted for writing. Give Download for a copy that the command may change.", at, in.JobInputType)
	case ref.Kind != uri.Datastore || ref.Path == "" || strings.EqualFold(ref.Name, artifactStore) || uploaded:
		return arm.Invalid(at+".mode", "%s.mode is ReadWriteMount, which changes the folder itself, but %q is not one for jobs to change: that is azureml://datastores/<datastore>/paths/<folder>, and no upload, asset or other job's files. Give Download for a copy that the command may change.", at, in.URI)
	}
	return nil
}

func (d Deps) inputURL(ctx context.Context, r store.Reader, ws arm.ID, at string, in *machinelearning.JobInput) (string, error) {
	ref, err := uri.Parse(in.URI)
	if err != nil {
		return "", arm.Invalid(at, "%s: %v.", at, err)
	}
	if ref.Kind != uri.Asset {
		if ref.Kind == uri.Datastore && ref.Path == "" && in.JobInputType == "uri_file" {
			return "", arm.Invalid(at, "%s is %q, a whole datastore, but the input is a uri_file; add the file's path or make it a uri_folder.", at, in.URI)
		}
		return d.resolveURI(ctx, r, ws, at, in.URI)
	}
	typ, typeField, uriField := "data", "dataType", "dataUri"
	if strings.HasSuffix(in.JobInputType, "_model") {
		typ, typeField, uriField = "models", "modelType", "modelUri"
	}
	rec, err := d.findAsset(ctx, r, ws, at, in.URI, typ)
	if err != nil {
		return "", err
	}
	if have := field(rec, typeField); have != in.JobInputType {
		return "", arm.Invalid(at, "%s is %q, which is of type %s, but the input's jobInputType is %s; make it %s.", at, in.URI, have, in.JobInputType, have)
	}
	return d.resolveURI(ctx, r, ws, at, field(rec, uriField))
}

// resolveOutputs looks up where each output goes: always into the workspace's own storage.
func (d Deps) resolveOutputs(ctx context.Context, r store.Reader, ws arm.ID, j *machinelearning.CommandJob) (map[string]commonruntime.Output, error) {
	out := make(map[string]commonruntime.Output, len(j.Outputs))
	for _, name := range keys(j.Outputs) {
		o := j.Outputs[name]
		at := "properties.outputs." + name + ".uri"
		ref, err := uri.Parse(o.URI)
		if err != nil {
			return nil, arm.Invalid(at, "%s: %v.", at, err)
		}
		if ref.Kind != uri.Datastore || ref.Path == "" {
			return nil, arm.Invalid(at, "%s is %q; an output goes to azureml://datastores/<datastore>/paths/<path>. Leave it out for the default place.", at, o.URI)
		}
		u, err := d.resolveURI(ctx, r, ws, at, o.URI)
		if err != nil {
			return nil, err
		}
		out[name] = commonruntime.Output{Type: o.JobOutputType, URL: u, Mode: o.Mode}
	}
	return out, nil
}
