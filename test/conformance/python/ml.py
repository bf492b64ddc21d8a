"""azure-ai-ml: everything up to a submitted job, with local code and data."""

import os
import pathlib
import time

from azure.ai.ml import Input, MLClient, Output, command
from azure.ai.ml.constants import AssetTypes
from azure.ai.ml.entities import AzureBlobDatastore, Data, Environment, KubernetesCompute, Model, Workspace
from azure.core.exceptions import ResourceNotFoundError
from azure.identity import EnvironmentCredential
from steps import end, equal, expect, refused, step

subscription, group = os.environ["AZURE_SUBSCRIPTION_ID"], os.environ["CONFORMANCE_GROUP"]
cluster = f"/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Kubernetes/connectedClusters/{os.environ['CONFORMANCE_CLUSTER']}"
here = pathlib.Path(os.environ["CONFORMANCE_DIR"])
credential = EnvironmentCredential(disable_instance_discovery=True)
ml = MLClient(credential, subscription, group, "py-lab", enable_telemetry=False)

code = here / "code"
code.mkdir()
(code / "train.py").write_text("print('hello')\n")
(code / "deep").mkdir()
(code / "deep" / "ünï code.py").write_text("x = 1\n")
table = here / "data.csv"
table.write_text("a,b\n1,2\n" * 1000)
folder = here / "images"
folder.mkdir()
for i in range(3):
    (folder / f"{i}.bin").write_bytes(os.urandom(100_000))


@step("make a workspace")
def _():
    made = ml.workspaces.begin_create(Workspace(name="py-made", location="local", description="by template", tags={"k": "v"})).result(120)
    equal((made.name, made.location, made.description, made.tags["k"]), ("py-made", "local", "by template", "v"))
    expect(made.storage_account and not made.key_vault and not made.application_insights, f"{made.storage_account}, {made.key_vault}, {made.application_insights}")
    equal({d.name for d in MLClient(credential, subscription, group, "py-made", enable_telemetry=False).datastores.list()}, {"workspaceblobstore", "workspaceartifactstore"})
    changed = ml.workspaces.begin_create(Workspace(name="py-made", display_name="Made")).result(120)
    equal((changed.display_name, changed.tags["k"]), ("Made", "v"))


@step("be told why a workspace is not made")
def _():
    refused(lambda: ml.workspaces.begin_create(Workspace(name="x" * 40, location="local")).result(120), "3 to 33 letters")


@step("delete a workspace with what was made for it")
def _():
    ml.workspaces.begin_delete("py-made", delete_dependent_resources=True).wait(60)
    expect("py-made" not in [w.name for w in ml.workspaces.list()])


@step("read and list workspaces")
def _():
    got = ml.workspaces.get("py-lab")
    equal((got.name, got.location, got.discovery_url.startswith(os.environ["FAIRLEAD_ENDPOINT"])), ("py-lab", "local", True))
    equal([w.name for w in ml.workspaces.list()], ["py-lab"])


@step("attach, read and list a Kubernetes compute")
def _():
    made = ml.compute.begin_create_or_update(KubernetesCompute(name="k8s", resource_id=cluster, namespace="default")).result(60)
    equal((made.name, made.provisioning_state, made.namespace), ("k8s", "Succeeded", "default"))
    equal(ml.compute.get("k8s").type, "kubernetes")
    equal([c.name for c in ml.compute.list()], ["k8s"])


@step("make an environment from an image")
def _():
    made = ml.environments.create_or_update(Environment(name="py-env", version="1", image="docker.io/library/python:3.12", description="plain"))
    equal((made.name, made.version, made.image), ("py-env", "1", "docker.io/library/python:3.12"))
    equal(ml.environments.get("py-env", label="latest").version, "1")
    equal([e.version for e in ml.environments.list(name="py-env")], ["1"])


@step("upload data: a file and a folder")
def _():
    made = ml.data.create_or_update(Data(name="py-table", version="1", type=AssetTypes.URI_FILE, path=str(table)))
    expect(made.path.startswith("azureml://"), made.path)
    made = ml.data.create_or_update(Data(name="py-images", version="1", type=AssetTypes.URI_FOLDER, path=str(folder)))
    equal((made.name, made.version, made.type), ("py-images", "1", "uri_folder"))
    equal(ml.data.get("py-table", label="latest").version, "1")
    equal({d.name for d in ml.data.list()}, {"py-table", "py-images"})


@step("upload a model, and download it")
def _():
    made = ml.models.create_or_update(Model(name="py-model", version="1", type=AssetTypes.CUSTOM_MODEL, path=str(folder)))
    equal((made.name, made.version), ("py-model", "1"))
    ml.models.download("py-model", "1", download_path=str(here / "down"))
    got = sorted(p.read_bytes() for p in (here / "down").rglob("*.bin"))
    equal(got, sorted(p.read_bytes() for p in folder.iterdir()))


@step("list, make and read datastores")
def _():
    equal({d.name for d in ml.datastores.list()}, {"workspaceblobstore", "workspaceartifactstore"})
    default = ml.datastores.get_default()
    equal(default.name, "workspaceblobstore")
    ml.datastores.create_or_update(AzureBlobDatastore(name="py_store", account_name=default.account_name, container_name="py-container"))
    equal(ml.datastores.get("py_store").container_name, "py-container")


@step("submit a job with local code and local data")
def _():
    job = command(
        name="py-job", code=str(code), command="python train.py --data ${{inputs.table}} --out ${{outputs.model}} --n ${{inputs.n}}",
        inputs={"table": Input(type=AssetTypes.URI_FILE, path=str(table)), "n": 3},
        outputs={"model": Output(type=AssetTypes.URI_FOLDER)},
        environment="py-env@latest", compute="k8s", experiment_name="conformance", display_name="first", tags={"k": "v"},
        environment_variables={"A": "1"}, instance_count=1,
    )
    made = ml.jobs.create_or_update(job)
    equal((made.name, made.experiment_name, made.display_name), ("py-job", "conformance", "first"))
    expect(made.status in ("NotStarted", "Starting", "Queued"), made.status)
    expect(made.studio_url, "no studio URL")


@step("read, list, change and cancel a job")
def _():
    got = ml.jobs.get("py-job")
    equal((got.compute, got.tags["k"]), ("k8s", "v"))
    expect("py-job" in [j.name for j in ml.jobs.list()])
    got.tags["more"] = "w"
    equal(ml.jobs.create_or_update(got).tags["more"], "w")
    ml.jobs.begin_cancel("py-job").result(60)
    for _ in range(100):
        if ml.jobs.get("py-job").status == "Canceled":
            return
        time.sleep(0.1)
    equal(ml.jobs.get("py-job").status, "Canceled")


@step("archive and restore")
def _():
    ml.models.archive("py-model", "1")
    equal(list(ml.models.list(name="py-model")), [])
    ml.models.restore("py-model", "1")
    equal([m.version for m in ml.models.list(name="py-model")], ["1"])


@step("be told what is wrong")
def _():
    refused(lambda: ml.jobs.create_or_update(command(command="true", environment="py-env@latest", compute="nowhere")), "nowhere")
    try:
        ml.jobs.get("py-absent")
    except ResourceNotFoundError as e:
        expect("py-absent" in str(e), str(e))
    else:
        raise AssertionError("a job that is not there was found")


@step("detach a compute and delete a workspace")
def _():
    ml.compute.begin_delete("k8s", action="Detach").wait(60)
    equal(list(ml.compute.list()), [])
    ml.workspaces.begin_delete("py-lab", delete_dependent_resources=False).wait(60)
    expect("py-lab" not in [w.name for w in ml.workspaces.list()])


end()
