"""azure-ai-ml with a cluster that runs jobs and serves: local code and data in, logs, outputs and predictions back."""

import contextlib
import io
import json
import os
import pathlib
import time

from azure.ai.ml import Input, MLClient, Output, command
from azure.ai.ml.constants import AssetTypes
from azure.ai.ml.entities import (
    BatchDeployment,
    BatchEndpoint,
    BatchRetrySettings,
    CodeConfiguration,
    Data,
    Environment,
    KubernetesCompute,
    KubernetesOnlineDeployment,
    KubernetesOnlineEndpoint,
    Model,
    ModelBatchDeployment,
    ModelBatchDeploymentSettings,
    OnlineRequestSettings,
    ResourceConfiguration,
    ResourceRequirementsSettings,
    ResourceSettings,
    Workspace,
)
from azure.ai.ml.exceptions import JobException
from azure.core.exceptions import HttpResponseError
from azure.identity import EnvironmentCredential
from steps import end, equal, expect, step

subscription, group, image = os.environ["AZURE_SUBSCRIPTION_ID"], os.environ["CONFORMANCE_GROUP"], os.environ["CONFORMANCE_IMAGE"]
cluster = f"/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Kubernetes/connectedClusters/{os.environ['CONFORMANCE_CLUSTER']}"
here = pathlib.Path(os.environ["CONFORMANCE_DIR"])
credential = EnvironmentCredential(disable_instance_discovery=True)
ml = MLClient(credential, subscription, group, "py-real", enable_telemetry=False)

code, score = here / "code", here / "score"
code.mkdir()
(code / "train.py").write_text("""
import json, pathlib, sys
rows = [line.split(",") for line in pathlib.Path(sys.argv[1]).read_text().splitlines()[1:]]
total = sum(int(b) for _, b in rows)
print("rows", len(rows), "total", total, flush=True)
out = pathlib.Path(sys.argv[2])
out.mkdir(parents=True, exist_ok=True)
(out / "model.json").write_text(json.dumps({"total": total}))
pathlib.Path("outputs").mkdir(exist_ok=True)
pathlib.Path("outputs/metrics.json").write_text(json.dumps({"rows": len(rows)}))
""")
score.mkdir()
(score / "score.py").write_text("""
import json, os, pathlib

def init():
    global total
    total = json.loads(next(pathlib.Path(os.environ["AZUREML_MODEL_DIR"]).rglob("model.json")).read_text())["total"]

def run(raw):
    return [total * n for n in json.loads(raw)["data"]]
""")
table = here / "data.csv"
table.write_text("a,b\n" + "1,2\n" * 100)
request = here / "request.json"
request.write_text(json.dumps({"data": [1, 10]}))


def train(name, line="python3 train.py ${{inputs.table}} ${{outputs.model}}"):
    return ml.jobs.create_or_update(command(
        name=name, code=str(code), command=line, inputs={"table": Input(type=AssetTypes.URI_FILE, path=str(table))},
        outputs={"model": Output(type=AssetTypes.CUSTOM_MODEL)}, environment="py-env@latest", compute="k8s", experiment_name="conformance"))


def stream(name):
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        ml.jobs.stream(name)
    return text.getvalue()


@step("make a workspace and attach a cluster to it")
def _():
    ml.workspaces.begin_create(Workspace(name="py-real", location="local")).result(120)
    made = ml.compute.begin_create_or_update(KubernetesCompute(name="k8s", resource_id=cluster, namespace="default")).result(300)
    equal(made.provisioning_state, "Succeeded")
    ml.environments.create_or_update(Environment(name="py-env", image=image))


@step("run a job with local code and local data, and follow its log")
def _():
    made = train("py-trained")
    text = stream("py-trained")
    expect("rows 100 total 200" in text and "Execution Summary" in text, text)
    equal(ml.jobs.get("py-trained").status, "Completed")
    expect(made.code, "no code")


@step("find code that was uploaded before by its hash")
def _():
    first, again = ml.jobs.get("py-trained"), train("py-again")
    equal(again.code, first.code)
    stream("py-again")


@step("download logs and outputs")
def _():
    ml.jobs.download("py-trained", download_path=here / "down", all=True)
    found = {p.relative_to(here / "down").as_posix(): p for p in (here / "down").rglob("*") if p.is_file()}
    model = [p for n, p in found.items() if n.startswith("named-outputs/model/") and n.endswith("model.json")]
    equal([json.loads(p.read_text()) for p in model], [{"total": 200}])
    expect("rows 100" in found["artifacts/user_logs/std_log.txt"].read_text(), sorted(found))
    equal(json.loads(found["artifacts/outputs/metrics.json"].read_text()), {"rows": 100})


@step("be told why a job failed")
def _():
    train("py-broken", "echo before; exit 3")
    try:
        stream("py-broken")
    except JobException as e:
        expect("3" in str(e) and "exit" in str(e).lower(), str(e))
    else:
        raise AssertionError("streaming a job that failed raised nothing")
    equal(ml.jobs.get("py-broken").status, "Failed")


@step("register a job's output as a model")
def _():
    made = ml.models.create_or_update(Model(name="py-total", type=AssetTypes.CUSTOM_MODEL, path="azureml://jobs/py-trained/outputs/model"))
    equal((made.name, made.version), ("py-total", "1"))


@step("make an online endpoint and a deployment")
def _():
    made = ml.online_endpoints.begin_create_or_update(KubernetesOnlineEndpoint(name="py-endpoint", compute="k8s", auth_mode="key")).result(600)
    equal(made.provisioning_state, "Succeeded")
    made = ml.online_deployments.begin_create_or_update(KubernetesOnlineDeployment(
        name="blue", endpoint_name="py-endpoint", model="azureml:py-total:1", environment=Environment(name="py-serve", version="1", image=image),
        code_configuration=CodeConfiguration(code=str(score), scoring_script="score.py"), instance_count=1,
        request_settings=OnlineRequestSettings(request_timeout_ms=10000, max_queue_wait_ms=10000),
        resources=ResourceRequirementsSettings(requests=ResourceSettings(cpu="50m", memory="128Mi")))).result(900)
    equal(made.provisioning_state, "Succeeded")
    endpoint = ml.online_endpoints.get("py-endpoint")
    endpoint.traffic = {"blue": 100}
    equal(ml.online_endpoints.begin_create_or_update(endpoint).result(300).traffic, {"blue": 100})
    equal([d.name for d in ml.online_deployments.list("py-endpoint")], ["blue"])


@step("send an endpoint data, and read a deployment's log")
def _():
    for deployment in (None, "blue"):
        for left in range(60, -1, -1):  # routers learn of traffic a moment later
            try:
                answer = ml.online_endpoints.invoke("py-endpoint", deployment_name=deployment, request_file=str(request))
                break
            except HttpResponseError:
                if not left:
                    raise
                time.sleep(1)
        answer = json.loads(answer)
        equal(json.loads(answer) if isinstance(answer, str) else answer, [200, 2000])
    expect(ml.online_deployments.get_logs("blue", "py-endpoint", lines=50), "no log")
    expect(ml.online_endpoints.get_keys("py-endpoint").primary_key)


@step("delete a deployment and an endpoint")
def _():
    endpoint = ml.online_endpoints.get("py-endpoint")
    endpoint.traffic = {"blue": 0}
    ml.online_endpoints.begin_create_or_update(endpoint).result(300)
    ml.online_deployments.begin_delete("blue", "py-endpoint").result(300)
    ml.online_endpoints.begin_delete("py-endpoint").result(300)
    equal(list(ml.online_endpoints.list()), [])


# Batch: numbers in files are multiplied by the total that the first job's model has.
numbers, batch = here / "numbers", here / "batch"
numbers.mkdir()
for i in range(5):
    (numbers / f"n{i}.txt").write_text(str(i))
batch.mkdir()
(batch / "score.py").write_text("""
import json, os, pathlib

def init():
    global total
    total = json.loads(next(pathlib.Path(os.environ["AZUREML_MODEL_DIR"]).rglob("model.json")).read_text())["total"]

def run(mini_batch):
    return [f"{os.path.basename(p)} {total * int(open(p).read())} {os.environ['UNIT']}" for p in mini_batch]
""")


def scored(job, folder, file="predictions.csv"):
    """Waits for a batch job, and gives the sorted lines of its output."""
    stream(job.name)
    equal(ml.jobs.get(job.name).status, "Completed")
    ml.jobs.download(job.name, download_path=here / folder, output_name="score")
    return sorted((here / folder / "named-outputs" / "score" / file).read_text().splitlines())


@step("make a batch endpoint and deployments")
def _():
    made = ml.batch_endpoints.begin_create_or_update(BatchEndpoint(name="py-batch", description="scores folders", tags={"k": "v"})).result(60)
    equal((made.name, made.auth_mode, made.provisioning_state, made.tags), ("py-batch", "aad_token", "Succeeded", {"k": "v"}))
    blue = ml.batch_deployments.begin_create_or_update(ModelBatchDeployment(
        name="blue", endpoint_name="py-batch", model="azureml:py-total:1", environment="py-env@latest", compute="k8s",
        code_configuration=CodeConfiguration(code=str(batch), scoring_script="score.py"), resources=ResourceConfiguration(instance_count=1),
        settings=ModelBatchDeploymentSettings(mini_batch_size=2, max_concurrency_per_instance=2, output_action="append_row", error_threshold=0,
                                              retry_settings=BatchRetrySettings(max_retries=1, timeout=60), environment_variables={"UNIT": "m"}))).result(60)
    equal((blue.provisioning_state, blue.mini_batch_size, blue.max_concurrency_per_instance, blue.output_action, blue.output_file_name, blue.error_threshold,
           blue.retry_settings.timeout, blue.logging_level, blue.environment_variables),
          ("Succeeded", 2, 2, "append_row", "predictions.csv", 0, 60, "Info", {"UNIT": "m"}))
    green = ml.batch_deployments.begin_create_or_update(BatchDeployment(  # as older scripts have it
        name="green", endpoint_name="py-batch", model="py-total@latest", environment="py-env@latest", compute="k8s", code_path=str(batch),
        scoring_script="score.py", instance_count=1, output_file_name="rows.csv", environment_variables={"UNIT": "km"})).result(60)
    equal((green.mini_batch_size, green.retry_settings.max_retries, green.retry_settings.timeout, green.error_threshold, green.max_concurrency_per_instance), (10, 3, 30, -1, 1))
    equal(sorted(d.name for d in ml.batch_deployments.list("py-batch")), ["blue", "green"])
    endpoint = ml.batch_endpoints.get("py-batch")
    endpoint.defaults = {"deployment_name": "green"}
    ml.batch_endpoints.begin_create_or_update(endpoint).result(60)
    endpoint = ml.batch_endpoints.get("py-batch")
    endpoint.defaults.deployment_name = "blue"
    equal(ml.batch_endpoints.begin_create_or_update(endpoint).result(60).defaults.deployment_name, "blue")


@step("score a folder and a data asset, list the jobs, and download what was predicted")
def _():
    first = ml.batch_endpoints.invoke(endpoint_name="py-batch", input=Input(type=AssetTypes.URI_FOLDER, path=str(numbers)))
    ml.data.create_or_update(Data(name="py-numbers", version="1", type=AssetTypes.URI_FOLDER, path=str(numbers)))
    second = ml.batch_endpoints.invoke(
        endpoint_name="py-batch", deployment_name="green", inputs={"numbers": Input(type=AssetTypes.URI_FOLDER, path="azureml:py-numbers:1")}, experiment_name="batch",
        outputs={"score": Output(type=AssetTypes.URI_FILE, path="azureml://datastores/workspaceblobstore/paths/py-batch/all.csv")},
        params_override=[{"mini_batch_size": 3}, {"retry_settings": {"max_retries": 2, "timeout": 40}}, {"compute": {"instance_count": 2}}])
    equal(scored(first, "first"), [f"n{i}.txt {i * 200} m" for i in range(5)])
    equal(scored(second, "second", "all.csv"), [f"n{i}.txt {i * 200} km" for i in range(5)])
    equal([j.name for j in ml.batch_endpoints.list_jobs("py-batch")], [second.name, first.name])
    equal([j.name for j in ml.batch_deployments.list_jobs("py-batch", name="blue")], [first.name])
    job = ml.jobs.get(second.name)
    equal((job.properties["azureml.deploymentname"], job.experiment_name, job.resources.instance_count), ("green", "batch", 2))


@step("delete a batch deployment and a batch endpoint")
def _():
    ml.batch_deployments.begin_delete("green", "py-batch").result(60)
    equal([d.name for d in ml.batch_deployments.list("py-batch")], ["blue"])
    ml.batch_endpoints.begin_delete("py-batch").result(60)
    equal(list(ml.batch_endpoints.list()), [])


end()
