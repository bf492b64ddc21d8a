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
    CodeConfiguration,
    Environment,
    KubernetesCompute,
    KubernetesOnlineDeployment,
    KubernetesOnlineEndpoint,
    Model,
    OnlineRequestSettings,
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


end()
