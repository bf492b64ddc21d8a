package spec

import (
	"regexp"

	"go.yaml.in/yaml/v3"
)

// Environment is an environment by name, or inline by image.
type Environment struct {
	// Ref is what the file says in one word (azureml:<name>:<version>, azureml:<name>@latest, a resource id); "" when inline.
	Ref                               string
	Name, Version, Description, Image string
	Tags                              map[string]string
	// Inference is nil when the image answers where the reference's inference server does.
	Inference *InferenceConfig
}

func (e *Environment) given() string { return e.Ref + e.Image }

// reference reads environment: of a job: a word or a mapping.
func (e *Environment) reference(d *decoder, n *yaml.Node, path string) {
	if n.Kind == yaml.ScalarNode {
		if _, err := ParseRef(n.Value); err != nil {
			d.fail(n, "%s: %v; or give image: <image> below environment:", path, err)
		}
		e.Ref = n.Value
		return
	}
	before := len(d.problems)
	object(e.fields)(d, n, path)
	if e.Image == "" && len(d.problems) == before {
		d.fail(n, "%s.image: is required: the container image to run in", path)
	}
}

func (e *Environment) fields() fields {
	noBuild := unsupported("building images; name a ready image in image:")
	return fields{
		"$schema": text(new(string)), "name": text(&e.Name), "version": text(&e.Version), "description": text(&e.Description),
		"tags": stringMap(&e.Tags), "image": e.image, "conda_file": noBuild, "build": noBuild, "os_type": text(new(string)),
		"inference_config": e.inference,
	}
}

var imageRef = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._:/@-]{0,511}$`)

func (e *Environment) image(d *decoder, n *yaml.Node, path string) {
	if text(&e.Image)(d, n, path); n.Kind == yaml.ScalarNode && !imageRef.MatchString(e.Image) {
		d.fail(n, "%s: %q is not an image name; want [registry/]name[:tag]", path, e.Image)
	}
}

// Environment gives a document the meaning of an environment asset.
func (doc *Document) Environment() (*Environment, error) {
	e, d := &Environment{}, &decoder{file: doc.file}
	d.object(doc.root, "", e.fields())
	d.need(doc, "image", e.Image, "the container image")
	return e, d.err()
}

func (d *decoder) need(doc *Document, key, value, help string) {
	if value == "" && !d.mentions(key) {
		d.fail(doc.node(key), "%s: is required: %s", key, help)
	}
}

// Asset is a model or a data asset.
type Asset struct {
	Name, Version, Description, Type, Path string
	Tags, Properties                       map[string]string
	// Datastore receives what is uploaded; "" is the workspace's default.
	Datastore string
}

// Model gives a document the meaning of a model.
func (doc *Document) Model() (*Asset, error) {
	return doc.asset("custom_model", "mlflow_model", "triton_model")
}

// Data gives a document the meaning of a data asset.
func (doc *Document) Data() (*Asset, error) {
	return doc.asset("uri_folder", "uri_file", "mltable")
}

func (doc *Document) asset(types ...string) (*Asset, error) {
	a, d := &Asset{Type: types[0]}, &decoder{file: doc.file}
	d.object(doc.root, "", fields{
		"$schema": text(new(string)), "name": text(&a.Name), "version": text(&a.Version), "description": text(&a.Description),
		"type": choice(&a.Type, types...), "path": text(&a.Path), "tags": stringMap(&a.Tags), "properties": stringMap(&a.Properties),
		"datastore": text(&a.Datastore), "stage": text(new(string)), "flavors": unsupported("flavors; they are read from the MLmodel file"),
	})
	d.need(doc, "name", a.Name, "the asset's name (or --name)")
	d.need(doc, "path", a.Path, "what to upload or to point to (or --path)")
	return a, d.err()
}

// Compute is an attached compute. Type is kubernetes.
type Compute struct {
	Name, Type, Description, ResourceID, Namespace, Location string
	Tags                                                     map[string]string
	Identity                                                 ManagedIdentity
}

// Compute gives a document the meaning of a compute to attach.
func (doc *Document) Compute() (*Compute, error) {
	c, d := &Compute{}, &decoder{file: doc.file}
	d.object(doc.root, "", fields{
		"$schema": text(new(string)), "name": text(&c.Name), "type": choice(&c.Type, "kubernetes"), "description": text(&c.Description),
		"resource_id": text(&c.ResourceID), "namespace": text(&c.Namespace), "location": text(&c.Location), "tags": stringMap(&c.Tags),
		"identity": c.Identity.read("system_assigned", "user_assigned", "SystemAssigned", "UserAssigned"),
	})
	d.need(doc, "name", c.Name, "the compute's name (or --name)")
	d.need(doc, "type", c.Type, "kubernetes (or --type kubernetes)")
	d.need(doc, "resource_id", c.ResourceID, "the cluster's resource id (or --resource-id)")
	return c, d.err()
}

// Workspace is a workspace to create.
type Workspace struct {
	Name, DisplayName, Description, Location, ResourceGroup string
	Tags                                                    map[string]string
}

// Workspace gives a document the meaning of a workspace.
func (doc *Document) Workspace() (*Workspace, error) {
	w, d := &Workspace{}, &decoder{file: doc.file}
	d.object(doc.root, "", fields{
		"$schema": text(new(string)), "name": text(&w.Name), "display_name": text(&w.DisplayName), "description": text(&w.Description),
		"location": text(&w.Location), "resource_group": text(&w.ResourceGroup), "tags": stringMap(&w.Tags),
	})
	d.need(doc, "name", w.Name, "the workspace's name (or --name)")
	return w, d.err()
}
