"""mlflow, with scikit-learn: tracking, artifacts and the model registry, as on a laptop; and what its own server answers to the same calls."""

import os
import pathlib
import socket
import subprocess
import sys
import time
import urllib.request

import mlflow
import numpy
import requests
from mlflow import MlflowClient
from sklearn.linear_model import LogisticRegression

from steps import end, equal, expect, refused, step

endpoint, folder = os.environ["FAIRLEAD_ENDPOINT"], pathlib.Path(os.environ["CONFORMANCE_DIR"])
workspace = (f"/subscriptions/{os.environ['AZURE_SUBSCRIPTION_ID']}/resourceGroups/{os.environ['CONFORMANCE_GROUP']}"
             "/providers/Microsoft.MachineLearningServices/workspaces/mlflow-lab")
answer = requests.post(f"{endpoint}/{os.environ['AZURE_TENANT_ID']}/oauth2/v2.0/token", data={
    "grant_type": "client_credentials", "client_id": os.environ["AZURE_CLIENT_ID"], "client_secret": os.environ["AZURE_CLIENT_SECRET"], "scope": endpoint + "/.default"})
os.environ["MLFLOW_TRACKING_TOKEN"] = answer.json()["access_token"]
mlflow.set_tracking_uri(f"{endpoint}/mlflow/v1.0{workspace}")
client = MlflowClient()
x = numpy.random.default_rng(1).random((80, 4))
y = (x[:, 0] > 0.5).astype(int)
made = {}


@step("log parameters, metrics, tags and artifacts to a run")
def _():
    made["experiment"] = mlflow.set_experiment("digits").experiment_id
    (folder / "files" / "sub").mkdir(parents=True)
    (folder / "files" / "a.txt").write_text("hello")
    (folder / "files" / "sub" / "b.bin").write_bytes(b"x" * 1_000_000)
    with mlflow.start_run(run_name="by hand", tags={"team": "vision"}) as run:
        mlflow.log_params({"lr": 0.1, "optimizer": "adam"})
        for i in range(20):
            mlflow.log_metric("loss", 1 / (i + 1), step=i)
        mlflow.log_metric("broken", float("nan"))
        mlflow.log_artifacts(str(folder / "files"), "files")
        mlflow.log_dict({"a": 1}, "config.json")
    made["run"] = run.info.run_id
    got = client.get_run(made["run"])
    equal((got.info.status, got.data.params, got.data.tags["team"], got.data.metrics["loss"]), ("FINISHED", {"lr": "0.1", "optimizer": "adam"}, "vision", 0.05))
    equal([m.value for m in client.get_metric_history(made["run"], "loss")], [1 / (i + 1) for i in range(20)])
    equal([f.path for f in client.list_artifacts(made["run"], "files")], ["files/a.txt", "files/sub"])
    back = pathlib.Path(client.download_artifacts(made["run"], "files", str(folder)))
    equal(((back / "a.txt").read_text(), (back / "sub" / "b.bin").stat().st_size), ("hello", 1_000_000))
    equal(mlflow.artifacts.load_dict(f"runs:/{made['run']}/config.json"), {"a": 1})


@step("log what scikit-learn trains by autolog")
def _():
    mlflow.sklearn.autolog()
    with mlflow.start_run(run_name="auto") as run:
        LogisticRegression().fit(x, y)
        with mlflow.start_run(nested=True, run_name="child"):
            mlflow.log_metric("a", 1)
    mlflow.sklearn.autolog(disable=True)
    made["auto"] = run.info.run_id
    got = client.get_run(made["auto"])
    expect(got.data.metrics["training_accuracy_score"] > 0.8 and got.data.params["solver"] == "lbfgs", got.data)
    children = mlflow.search_runs([made["experiment"]], f"tags.mlflow.parentRunId = '{made['auto']}'")
    equal(list(children["tags.mlflow.runName"]), ["child"])
    made["model"] = client.search_logged_models([made["experiment"]], filter_string=f"source_run_id = '{made['auto']}'")[0]
    equal(str(made["model"].status), "READY")
    equal(list(mlflow.pyfunc.load_model(f"runs:/{made['auto']}/model").predict(x)), list(mlflow.sklearn.load_model(made["model"].model_uri).predict(x)))


@step("search runs with filters, orders and pages")
def _():
    for i in range(25):
        with mlflow.start_run(run_name=f"search-{i}"):
            mlflow.log_metric("score", i / 10)
            mlflow.log_param("even", i % 2 == 0)
    found = client.search_runs([made["experiment"]], "metrics.score >= 1 AND params.even = 'True'", order_by=["metrics.score DESC"], max_results=5)
    equal([r.data.metrics["score"] for r in found], [2.4, 2.2, 2.0, 1.8, 1.6])
    rest = client.search_runs([made["experiment"]], "metrics.score >= 1 AND params.even = 'True'", order_by=["metrics.score DESC"], max_results=5, page_token=found.token)
    equal([r.data.metrics["score"] for r in rest], [1.4, 1.2, 1.0])
    equal(len(mlflow.search_runs(experiment_names=["digits"], filter_string="attributes.run_name LIKE 'search-%'")), 25)


@step("register a model, with aliases, stages and tags, and load it")
def _():
    first = mlflow.register_model(made["model"].model_uri, "classifier", tags={"kind": "test"})
    second = mlflow.register_model(f"runs:/{made['auto']}/model", "classifier")
    equal((first.version, second.version, second.run_id), ("1", "2", made["auto"]))
    client.set_registered_model_alias("classifier", "champion", "1")
    client.transition_model_version_stage("classifier", "2", "Production")
    client.set_registered_model_tag("classifier", "team", "vision")
    client.update_model_version("classifier", "1", "the first")
    got = client.get_model_version_by_alias("classifier", "champion")
    equal((got.version, got.description, got.tags), ("1", "the first", {"kind": "test"}))
    equal([m.name for m in client.search_registered_models("name ILIKE 'CLASS%' AND tags.team = 'vision'")], ["classifier"])
    equal([v.version for v in client.search_model_versions("name = 'classifier'", order_by=["version_number ASC"])], ["1", "2"])
    equal([(v.version, v.current_stage) for v in client.get_latest_versions("classifier", ["Production"])], [("2", "Production")])
    for uri in ("models:/classifier@champion", "models:/classifier/2"):
        equal(len(mlflow.pyfunc.load_model(uri).predict(x)), 80)


@step("be told what is wrong")
def _():
    refused(lambda: client.search_runs([made["experiment"]], "metrics.score > 'x'"), "INVALID_PARAMETER_VALUE")
    refused(lambda: client.log_param(made["run"], "lr", "0.2"), "Changing param values is not allowed")
    refused(lambda: client.get_run("0" * 32), "RESOURCE_DOES_NOT_EXIST")
    refused(lambda: client.create_experiment("digits"), "RESOURCE_ALREADY_EXISTS")
    good = os.environ["MLFLOW_TRACKING_TOKEN"]
    os.environ["MLFLOW_TRACKING_TOKEN"] = "wrong"
    try:
        refused(lambda: client.get_run(made["run"]), "UNAUTHENTICATED")
    finally:
        os.environ["MLFLOW_TRACKING_TOKEN"] = good


@step("answer what MLflow's own server answers")
def _():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    theirs = f"http://127.0.0.1:{port}"
    with open(folder / "server.log", "wb") as log:
        server = subprocess.Popen([sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1", "--backend-store-uri", f"sqlite:///{folder}/theirs.db",
                                   "--artifacts-destination", str(folder)], stdout=log, stderr=log, cwd=folder, start_new_session=True)
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(theirs + "/health", timeout=5)
                break
            except OSError:
                expect(server.poll() is None, (folder / "server.log").read_text()[-2000:])
                time.sleep(0.2)
        same = pathlib.Path(__file__).parents[3] / "internal/controlplane/tracking/testdata/same.py"
        done = subprocess.run([sys.executable, str(same), f"{endpoint}/mlflow/v1.0{workspace[:-len('mlflow-lab')]}same-lab", theirs], capture_output=True, text=True, timeout=600)
        expect(done.returncode == 0, done.stdout[-2500:] + done.stderr[-1500:])
    finally:
        os.killpg(server.pid, 15)
        server.wait()


end()
