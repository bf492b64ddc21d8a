package spec

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const goodJob = `$schema: https://azuremlschemas.azureedge.net/latest/commandJob.schema.json
type: command
name: train-1
display_name: Train
experiment_name: digits
description: a job
tags: {team: vision, run: 7}
command: >-
  python train.py --c ${{inputs.c}} --data ${{inputs.data}} --out ${{outputs.model}}
code: ./src
environment: azureml:sklearn:1
environment_variables: {A: "1", B: true}
distribution: {type: pytorch, process_count_per_instance: 2}
compute: azureml:k8s
resources: {instance_count: 2, instance_type: big, shm_size: 4g}
limits: {timeout: 300}
inputs:
  c: 0.5
  data: {type: uri_file, path: data.csv, mode: download}
outputs:
  model: {type: custom_model, mode: upload}
identity: {type: aml_token}
`

func TestJob(t *testing.T) {
	doc, err := Parse("job.yml", []byte(goodJob))
	if err != nil {
		t.Fatal(err)
	}
	got, err := doc.Job()
	if err != nil {
		t.Fatal(err)
	}
	want := &CommandJob{
		Name: "train-1", DisplayName: "Train", ExperimentName: "digits", Description: "a job",
		Tags:    map[string]string{"team": "vision", "run": "7"},
		Command: "python train.py --c ${{inputs.c}} --data ${{inputs.data}} --out ${{outputs.model}}",
		Code:    "./src", Compute: "azureml:k8s", Environment: Environment{Ref: "azureml:sklearn:1"},
		EnvironmentVariables: map[string]string{"A": "1", "B": "true"},
		Distribution:         &Distribution{Type: "pytorch", ProcessCountPerInstance: 2},
		Resources:            Resources{InstanceCount: 2, InstanceType: "big", ShmSize: "4g"},
		TimeoutSeconds:       300,
		Inputs: map[string]Input{
			"c":    {Literal: true, Value: "0.5", Line: 18},
			"data": {Type: "uri_file", Path: "data.csv", Mode: "download", Line: 19},
		},
		Outputs:  map[string]Output{"model": {Type: "custom_model", Mode: "upload"}},
		Identity: &Identity{Type: "aml_token"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// minimal is a right job to which a fault is added.
const minimal = "command: echo hi\nenvironment: azureml:e:1\ncompute: azureml:k\n"

func TestJob_BadInput(t *testing.T) {
	for name, tc := range map[string]struct{ in, want string }{
		"unknown key":            {minimal + "comand: x\n", `job.yml:4: unknown key "comand"; did you mean "command"?`},
		"unknown key far":        {"zzzzzz: 1\n" + minimal, `job.yml:1: unknown key "zzzzzz"; known keys: $schema, code,`},
		"unknown nested key":     {minimal + "resources:\n  instance_typ: a\n", `job.yml:5: unknown key "instance_typ" in resources; did you mean "instance_type"?`},
		"dashes for underscores": {minimal + "display-name: a\n", `job.yml:4: unknown key "display-name"; did you mean "display_name"?`},
		"not yaml":               {"command: [\n", `job.yml:1: not valid YAML: did not find expected node content`},
		"tab":                    {"command:\n\t- x\n", `job.yml:2: not valid YAML: found character that cannot start any token`},
		"a list":                 {"- a\n", `job.yml:1: must be a mapping of keys to values, not a list`},
		"a word":                 {"hello\n", `job.yml:1: must be a mapping of keys to values, not "hello"`},
		"two documents":          {minimal + "---\na: 1\n", `job.yml:4: a second YAML document begins here; one file holds one document`},
		"empty":                  {"", "job.yml: command: is required: the shell command to run\njob.yml: environment: is required: azureml:<name>:<version> or image: <image>\njob.yml: compute: is required: azureml:<compute name>"},
		"key twice":              {minimal + "compute: azureml:z\n", `job.yml:4: compute: key given twice`},
		"command a list":         {"command: [a]\nenvironment: azureml:e:1\ncompute: k\n", `job.yml:1: command: must be text, not a list`},
		"command missing":        {"environment: azureml:e:1\ncompute: k\n", `job.yml: command: is required: the shell command to run`},
		"environment missing":    {"command: a\ncompute: k\n", `job.yml: environment: is required: azureml:<name>:<version> or image: <image>`},
		"environment no version": {"command: a\nenvironment: sklearn\ncompute: k\n", `job.yml:2: environment: "sklearn" names no asset; want azureml:<name>:<version> or azureml:<name>@latest; or give image: <image> below environment:`},
		"environment registry":   {"command: a\nenvironment: azureml://registries/azureml/environments/x/versions/1\ncompute: k\n", `job.yml:2: environment: "azureml://registries/azureml/environments/x/versions/1": registries are not supported; want azureml:<name>:<version>; or give image: <image> below environment:`},
		"environment no image":   {"command: a\nenvironment: {name: x}\ncompute: k\n", `job.yml:2: environment.image: is required: the container image to run in`},
		"environment conda":      {"command: a\nenvironment: {image: x, conda_file: c.yml}\ncompute: k\n", `job.yml:2: environment.conda_file: not supported yet: building images; name a ready image in image:`},
		"image with space":       {"command: a\nenvironment: {image: a b}\ncompute: k\n", `job.yml:2: environment.image: "a b" is not an image name; want [registry/]name[:tag]`},
		"compute local":          {"command: a\nenvironment: azureml:e:1\ncompute: local\n", `job.yml:3: compute: "local" is not supported; name an attached compute (fairlead ml compute list)`},
		"instance count word":    {minimal + "resources: {instance_count: two}\n", `job.yml:4: resources.instance_count: must be a whole number, not "two"`},
		"instance count zero":    {minimal + "resources: {instance_count: 0}\n", `job.yml:4: resources.instance_count: 0 is out of range; must be 1 to 100`},
		"instance count half":    {minimal + "resources: {instance_count: 1.5}\n", `job.yml:4: resources.instance_count: must be a whole number, not "1.5"`},
		"shm size":               {minimal + "resources: {shm_size: 2 GB}\n", `job.yml:4: resources.shm_size: "2 GB" is not a size; want a whole number above 0 and a unit b, k, m or g, such as 2g`},
		"resources a word":       {minimal + "resources: big\n", `job.yml:4: resources: must be a mapping, not "big"`},
		"timeout negative":       {minimal + "limits: {timeout: -1}\n", `job.yml:4: limits.timeout: -1 is out of range; must be 1 to 2147483648`},
		"input no path":          {minimal + "inputs: {d: {type: uri_file}}\n", `job.yml:4: inputs.d.path: is required: a local path, azureml:<data>:<version>, azureml://datastores/… or https://…`},
		"input type":             {minimal + "inputs: {d: {type: file, path: a}}\n", `job.yml:4: inputs.d.type: "file" is not one of uri_folder, uri_file, mltable, mlflow_model, custom_model`},
		"input mode":             {minimal + "inputs: {d: {path: a, mode: mount}}\n", `job.yml:4: inputs.d.mode: "mount" is not one of ro_mount, rw_mount, download, direct`},
		"input a list":           {minimal + "inputs: {d: [1]}\n", `job.yml:4: inputs.d: must be a literal or a mapping with type and path, not a list`},
		"input name":             {minimal + "inputs: {1d: 2}\n", `job.yml:4: inputs: "1d" is not a name: letters, digits and _, not beginning with a digit`},
		"input empty":            {minimal + "inputs:\n  d:\n", `job.yml:5: inputs.d: has no value`},
		"input to change":        {minimal + "inputs: {d: {path: a, mode: rw_mount}}\n", `job.yml:4: inputs.d.mode: rw_mount changes the folder itself, which must be azureml://datastores/<datastore>/paths/<folder>; use download for a copy that the command may change`},
		"output mode":            {minimal + "outputs: {o: {mode: download}}\n", `job.yml:4: outputs.o.mode: "download" is not one of rw_mount, upload, direct`},
		"output path":            {minimal + "outputs: {o: {path: ./x}}\n", `job.yml:4: outputs.o.path: "./x" is not a place for output; want azureml://datastores/<name>/paths/<folder>`},
		"placeholder":            {"command: echo ${{inputs.datta}}\nenvironment: azureml:e:1\ncompute: k\ninputs: {data: 1}\n", `job.yml:1: command: ${{inputs.datta}} names no entry of inputs; did you mean "data"?`},
		"placeholder none":       {"command: echo ${{outputs.model}}\nenvironment: azureml:e:1\ncompute: k\n", `job.yml:1: command: ${{outputs.model}} names no entry of outputs; there is: none`},
		"placeholder kind":       {"command: echo ${{search_space.a}}\nenvironment: azureml:e:1\ncompute: k\n", `job.yml:1: command: ${{search_space.a}} is not known; ${{inputs.<name>}} and ${{outputs.<name>}} are`},
		"sweep":                  {"type: sweep\n" + minimal, `job.yml:1: type: sweep jobs are not supported yet; command jobs are`},
		"pipeline":               {"type: pipeline\n", `job.yml:1: type: pipeline jobs are not supported yet; command jobs are`},
		"type unknown":           {"type: comand\n", `job.yml:1: type: "comand" is not one of command`},
		"name":                   {minimal + "name: a/b\n", `job.yml:4: name: "a/b" is not a job name: ` + NameRule},
		"experiment name":        {minimal + "experiment_name: my runs\n", `job.yml:4: experiment_name: "my runs" is not a name of an experiment: `},
		"distribution no type":   {minimal + "distribution: {}\n", `job.yml:4: distribution.type: is required; one of pytorch, mpi, tensorflow`},
		"distribution ray":       {minimal + "distribution: {type: ray}\n", `job.yml:4: distribution.type: not supported yet: ray; one of pytorch, mpi, tensorflow`},
		"mpi without processes":  {minimal + "distribution: {type: mpi}\n", `job.yml:4: distribution.process_count_per_instance: is required for mpi`},
		"tensorflow processes":   {minimal + "distribution: {type: tensorflow, process_count_per_instance: 2}\n", `job.yml:4: distribution.process_count_per_instance: does not belong to tensorflow; use worker_count and parameter_server_count`},
		"mpi processes":          {minimal + "distribution:\n  process_count_per_instance: 2\n  type: mpi\n", `job.yml:6: distribution.type: mpi with instance_count 1 and process_count_per_instance 2 is not supported yet: mpi jobs run as one process; use pytorch for several, or set both to 1`},
		"mpi instances":          {minimal + "resources: {instance_count: 2}\ndistribution: {type: Mpi, process_count_per_instance: 1}\n", `job.yml:5: distribution.type: mpi with instance_count 2 and process_count_per_instance 1 is not supported yet: `},
		"tensorflow workers":     {minimal + "resources: {instance_count: 3}\ndistribution:\n  type: tensorflow\n  worker_count: 3\n  parameter_server_count: 1\n", `job.yml:7: distribution.worker_count: 3 workers and 1 parameter servers do not make resources.instance_count, 3; each instance is one of them, and at least one is a worker`},
		"tensorflow no worker":   {minimal + "distribution: {type: tensorflow, parameter_server_count: 1}\n", `job.yml:4: distribution.parameter_server_count: 0 workers and 1 parameter servers do not make resources.instance_count, 1; each instance is one of them, and at least one is a worker`},
		"instance count large":   {minimal + "resources: {instance_count: 101}\n", `job.yml:4: resources.instance_count: 101 is out of range; must be 1 to 100`},
		"shm size no unit":       {minimal + "resources: {shm_size: 2048}\n", `job.yml:4: resources.shm_size: "2048" is not a size; want a whole number above 0 and a unit b, k, m or g, such as 2g`},
		"shm size zero":          {minimal + "resources: {shm_size: 0g}\n", `job.yml:4: resources.shm_size: "0g" is not a size; want a whole number above 0 and a unit b, k, m or g, such as 2g`},
		"shm size a list":        {minimal + "resources: {shm_size: [2g]}\n", `job.yml:4: resources.shm_size: must be text, not a list`},
		"docker args":            {minimal + "resources:\n  docker_args: --gpus all\n", `job.yml:5: resources.docker_args: not supported: a Kubernetes compute has no docker to give "--gpus all" to; leave it out (instance_type and shm_size set a pod's resources)`},
		"input triton":           {minimal + "inputs: {d: {type: triton_model, path: a}}\n", `job.yml:4: inputs.d.type: not supported yet: triton_model; custom_model takes any model`},
		"input eval mount":       {minimal + "inputs: {d: {path: a, mode: eval_mount}}\n", `job.yml:4: inputs.d.mode: not supported yet: eval_mount; one of ro_mount, rw_mount, download, direct`},
		"input eval download":    {minimal + "inputs: {d: {path: a, mode: Eval_Download}}\n", `job.yml:4: inputs.d.mode: not supported yet: Eval_Download; one of ro_mount, rw_mount, download, direct`},
		"output triton":          {minimal + "outputs: {o: {type: triton_model}}\n", `job.yml:4: outputs.o.type: not supported yet: triton_model; custom_model takes any model`},
		"output default":         {minimal + "outputs: {default: {}}\n", `job.yml:4: outputs.default: the name default is taken; give the output another name`},
		"output and input":       {minimal + "outputs: {a: {}}\ninputs: {a: 1}\n", `job.yml:4: outputs.a: is the name of an input too; rename one`},
		"placeholder default":    {"command: echo ${{outputs.default}}\nenvironment: azureml:e:1\ncompute: k\n", `job.yml:1: command: ${{outputs.default}} is not supported yet; name an output below outputs:, or write to ./outputs, which is kept with the job's artifacts`},
		"identity user":          {minimal + "identity: {type: user_identity}\n", `job.yml:4: identity.type: not supported yet: user_identity; a job runs while its user is away, and no token of a user is kept; give managed, and give the compute's identity the roles that the job needs`},
		"identity no type":       {minimal + "identity: {}\n", `job.yml:4: identity.type: is required; give managed or aml_token, or leave identity out`},
		"identity of a token":    {minimal + "identity: {type: aml_token, client_id: x}\n", `job.yml:4: identity: client_id, object_id and msi_resource_id belong to managed, not aml_token`},
		"environment variable":   {minimal + "environment_variables: {A=B: 1}\n", `job.yml:4: environment_variables: "A=B" is not a variable name`},
		"tags nested":            {minimal + "tags: {a: {b: 1}}\n", `job.yml:4: tags.a: must be text, not a mapping`},
		"identity":               {minimal + "identity: {type: root}\n", `job.yml:4: identity.type: "root" is not one of aml_token, managed, managed_identity`},
		"services":               {minimal + "services: {a: {type: ssh}}\n", "job.yml:4: services: not supported yet: interactive services; follow the log with `fairlead ml job stream`"},
		"self-reference":         {minimal + "resources: &r\n  properties: *r\n", `job.yml:5: resources.properties.properties: must be text, not a mapping`},
	} {
		t.Run(name, func(t *testing.T) {
			doc, err := Parse("job.yml", []byte(tc.in))
			if err == nil {
				_, err = doc.Job()
			}
			if err == nil {
				t.Fatalf("no error; want %s", tc.want)
			}
			if got := err.Error(); got != tc.want && !(strings.HasSuffix(tc.want, ",") || strings.HasSuffix(tc.want, ": ")) || !strings.HasPrefix(got, tc.want) {
				t.Errorf("got:\n%s\nwant:\n%s", got, tc.want)
			}
		})
	}
}

func TestJob_Warnings(t *testing.T) {
	const noEffect = " has no effect in this release"
	for name, tc := range map[string]struct{ in, want string }{
		"queue settings":     {"queue_settings:\n  job_tier: spot\n", "job.yml:5: queue_settings:" + noEffect},
		"max instance count": {"resources:\n  max_instance_count: 4\n", "job.yml:5: resources.max_instance_count:" + noEffect},
		"locations":          {"resources: {instance_count: 2, locations: [eu]}\n", "job.yml:4: resources.locations:" + noEffect},
		"output name": {"outputs:\n  model: {type: custom_model, name: digits}\n", "job.yml:5: outputs.model.name:" + noEffect +
			": nothing is registered; register it when the job has ended, with `fairlead ml model create` or `fairlead ml data create`"},
		"none":        {"resources: {instance_count: 100, shm_size: 1g, docker_args: \"\"}\nqueue_settings:\n", ""},
		"mpi alone":   {"distribution: {type: mpi, process_count_per_instance: 1}\n", ""},
		"output only": {"outputs: {model: {type: custom_model}}\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			doc, err := Parse("job.yml", []byte(minimal+tc.in))
			if err != nil {
				t.Fatal(err)
			}
			job, err := doc.Job()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, job.Warnings.Error()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestJob_Workers(t *testing.T) {
	for name, tc := range map[string]struct {
		in   string
		want Distribution
	}{
		"alone":            {"distribution: {type: tensorflow}\n", Distribution{Type: "tensorflow", WorkerCount: 1}},
		"all work":         {"distribution: {type: tensorflow}\nresources: {instance_count: 3}\n", Distribution{Type: "tensorflow", WorkerCount: 3}},
		"one serves":       {"resources: {instance_count: 3}\ndistribution: {type: tensorflow, parameter_server_count: 1}\n", Distribution{Type: "tensorflow", WorkerCount: 2, ParameterServerCount: 1}},
		"both counts":      {"resources: {instance_count: 3}\ndistribution: {type: tensorflow, worker_count: 1, parameter_server_count: 2}\n", Distribution{Type: "tensorflow", WorkerCount: 1, ParameterServerCount: 2}},
		"pytorch has none": {"resources: {instance_count: 3}\ndistribution: {type: pytorch}\n", Distribution{Type: "pytorch"}},
	} {
		t.Run(name, func(t *testing.T) {
			doc, err := Parse("job.yml", []byte(minimal+tc.in))
			if err != nil {
				t.Fatal(err)
			}
			job, err := doc.Job()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&tc.want, job.Distribution); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDocument_Set(t *testing.T) {
	doc, err := Parse("job.yml", []byte(minimal+"inputs: {c: 1}\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"resources.instance_count=3", "inputs.c=2.5", "tags={a: b}", "command=echo a=b"} {
		if err := doc.Set(s); err != nil {
			t.Fatal(err)
		}
	}
	j, err := doc.Job()
	if err != nil {
		t.Fatal(err)
	}
	got := []any{j.Resources.InstanceCount, j.Inputs["c"].Value, j.Tags["a"], j.Command}
	if diff := cmp.Diff([]any{int64(3), "2.5", "b", "echo a=b"}, got); diff != "" {
		t.Error(diff)
	}
	if err := doc.Set("nonsense"); err == nil {
		t.Error("an assignment without = was accepted")
	}
}

func TestMergeKeys(t *testing.T) {
	in := "x: &base {instance_count: 2, instance_type: a}\n"
	doc, err := Parse("job.yml", []byte(strings.ReplaceAll(in, "x:", "resources:")+minimal))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := doc.Job(); err != nil {
		t.Error(err)
	}
	doc, err = Parse("job.yml", []byte("tags: &t {a: b}\nproperties:\n  <<: *t\n  c: d\n"+minimal))
	if err != nil {
		t.Fatal(err)
	}
	j, err := doc.Job()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"a": "b", "c": "d"}, j.Properties); diff != "" {
		t.Error(diff)
	}
}

func TestParseRef(t *testing.T) {
	for in, want := range map[string]Ref{
		"azureml:a:1":      {Name: "a", Version: "1"},
		"azureml:a@latest": {Name: "a", Label: "latest"},
		"a:1":              {Name: "a", Version: "1"},
		"azureml:/subscriptions/s/resourceGroups/g/providers/N/t/n": {ID: "/subscriptions/s/resourceGroups/g/providers/N/t/n"},
	} {
		got, err := ParseRef(in)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", in, got, err, want)
		}
	}
	for _, in := range []string{"", "azureml:", "azureml:a", "a/b:1", "azureml://registries/x", "azureml:a:1:2"} {
		if got, err := ParseRef(in); err == nil {
			t.Errorf("%q was read as %+v", in, got)
		}
	}
}

func FuzzJob(f *testing.F) {
	f.Add([]byte(goodJob))
	f.Add([]byte(minimal))
	f.Add([]byte("a: &a [*a]"))
	f.Add([]byte("<<: {command: x}"))
	f.Add([]byte("inputs: {? [a] : b}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		doc, err := Parse("f", data)
		if err != nil {
			if err.Error() == "" {
				t.Error("an error without words")
			}
			return
		}
		job, err := doc.Job()
		if err == nil && (job.Command == "" || job.Compute == "") {
			t.Errorf("a job without command or compute was accepted: %q", data)
		}
		for _, read := range []func() (any, error){
			func() (any, error) { return doc.Model() }, func() (any, error) { return doc.Environment() },
			func() (any, error) { return doc.Compute() }, func() (any, error) { return doc.Datastore() },
		} {
			_, _ = read()
		}
	})
}
