"""The same calls of MLflow's client to a workspace and to MLflow's own store: what they answer must be the same.

usage: same.py <tracking URI of a workspace> <tracking URI of MLflow>
"""

import json
import math
import os
import sys

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelParameter, LoggedModelStatus, Metric, Param, RunTag, ViewType
from mlflow.exceptions import MlflowException

os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


def plain(value):
    """What can be compared of an answer."""
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    if isinstance(value, dict):
        return {k: plain(v) for k, v in sorted(value.items())}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value


def ran(run):
    i, d = run.info, run.data
    return plain({"name": i.run_name, "user": i.user_id, "status": i.status, "start": i.start_time, "end": i.end_time, "stage": i.lifecycle_stage,
                  "metrics": d.metrics, "params": d.params, "tags": d.tags,
                  "datasets": sorted((x.dataset.name, x.dataset.digest, sorted((t.key, t.value) for t in x.tags)) for x in run.inputs.dataset_inputs)})


def points(metrics):
    return plain([(m.key, m.value, m.timestamp, m.step) for m in metrics])


class Script:
    """Runs on one client and notes what each call answers, or the code of its error."""

    def __init__(self, uri):
        self.c, self.answers, self.ids = MlflowClient(tracking_uri=uri, registry_uri=uri), [], {}

    def note(self, name, call, show=plain):
        try:
            value = call()
            self.answers.append((name, show(value)))
            return value
        except MlflowException as e:
            self.answers.append((name, "error " + e.error_code))

    def experiments(self):
        c = self.c
        self.a = c.create_experiment("alpha", tags={"team": "vision", "stage": "Dev"})
        self.b = c.create_experiment("beta", tags={"team": "speech"})
        show = lambda e: plain((e.name, e.lifecycle_stage, dict(e.tags)))
        self.note("get", lambda: c.get_experiment(self.a), show)
        self.note("by name", lambda: c.get_experiment_by_name("beta"), show)
        self.note("absent by name", lambda: c.get_experiment_by_name("nobody"))
        self.note("default", lambda: c.get_experiment("0"), show)
        self.note("absent", lambda: c.get_experiment("123456789"))
        self.note("twice", lambda: c.create_experiment("alpha"))
        self.note("no name", lambda: c.create_experiment(""))
        self.note("long name", lambda: c.create_experiment("x" * 501))
        c.set_experiment_tag(self.b, "team", "audio")
        self.note("tagged", lambda: c.get_experiment(self.b), show)
        self.note("bad tag", lambda: c.set_experiment_tag(self.b, "a//b", "x"))
        for f in ("name = 'alpha'", "name LIKE 'a%'", "name ILIKE 'AL%'", "tags.team = 'vision'", "tags.team != 'vision'", "tags.stage IS NULL", "tags.stage IS NOT NULL",
                  "name LIKE 'A%'", "tags.stage ILIKE 'dEV' AND name = 'alpha'", "nope = 'a'", "name > 'a'", "name = 'a' OR name = 'b'", "attribute.name != 'alpha'",
                  "creation_time > 0", "creation_time > 'x'", "name IN ('alpha', 'beta')"):
            self.note("experiments " + f, lambda: sorted(e.name for e in c.search_experiments(filter_string=f)))
        for o in (["name DESC"], ["name"], ["creation_time ASC", "name"], ["nope"], ["tags.team"]):
            self.note(f"experiments by {o}", lambda: [e.name for e in c.search_experiments(order_by=o)])
        page = c.search_experiments(max_results=2, order_by=["name"])
        rest = c.search_experiments(max_results=2, order_by=["name"], page_token=page.token)
        self.answers.append(("pages", ([e.name for e in page], [e.name for e in rest], bool(rest.token))))
        c.delete_experiment(self.b)
        self.note("deleted", lambda: c.get_experiment(self.b), show)
        self.note("deleted again", lambda: c.delete_experiment(self.b))
        self.note("run in deleted", lambda: c.create_run(self.b))
        self.note("rename deleted", lambda: c.rename_experiment(self.b, "gamma"))
        self.note("only deleted", lambda: [e.name for e in c.search_experiments(view_type=ViewType.DELETED_ONLY)])
        c.restore_experiment(self.b)
        c.rename_experiment(self.b, "gamma")
        self.note("renamed", lambda: c.get_experiment(self.b), show)

    def runs(self):
        c = self.c
        self.r = [c.create_run(self.a, start_time=1000 + i % 4, tags={"i": str(i), "parity": "even" if i % 2 == 0 else "odd", "mlflow.user": "me"}, run_name=f"run-{i}").info.run_id
                  for i in range(8)]
        for i, r in enumerate(self.r):
            c.log_batch(r, [Metric("loss", 1 / (i + 1), 10, 0), Metric("val/acc", i * 10.0, 10, 0)] + ([Metric("odd only", -i, 5, 1)] if i % 2 else []),
                        [Param("lr", str(0.1 * i)), Param("Opt", "Adam" if i < 4 else "sgd"), Param("a b", "x%y_z")], [RunTag("k.dot", str(i))])
        special = self.r[0]
        for v in (float("nan"), float("inf"), float("-inf"), 1e-300, 3, -0.0):
            c.log_metric(special, "special", v, timestamp=100, step=1)
        c.log_metric(self.r[1], "special", float("nan"), timestamp=1, step=1)
        c.log_metric(self.r[2], "special", float("inf"), timestamp=1, step=1)
        c.log_metric(self.r[3], "special", 0.0, timestamp=1, step=1)
        self.note("special", lambda: c.get_metric_history(special, "special"), points)
        self.note("get", lambda: c.get_run(special), ran)
        self.note("absent", lambda: c.get_run("0" * 32))
        self.note("history absent", lambda: c.get_metric_history(special, "nothing"), points)
        for step, at, v in ((5, 50, 1.0), (3, 60, 2.0), (5, 40, 3.0), (5, 50, 0.5), (5, 50, 1.0)):
            c.log_metric(special, "order", v, timestamp=at, step=step)
        self.note("order", lambda: c.get_metric_history(special, "order"), points)
        self.note("latest", lambda: c.get_run(special), ran)
        self.note("many", lambda: c.log_batch(special, [Metric("m", i, i // 3, i % 7) for i in range(1000)]))
        self.note("many back", lambda: c.get_metric_history(special, "m"), points)
        self.note("too many", lambda: c.log_batch(special, [Metric("m", i, i, i) for i in range(1001)]))
        self.note("too many params", lambda: c.log_batch(special, params=[Param(f"p{i}", "1") for i in range(101)]))
        self.note("param again", lambda: c.log_param(special, "lr", "0.0"))
        self.note("param changed", lambda: c.log_param(special, "lr", "7"))
        self.note("batch changes", lambda: c.log_batch(special, metrics=[Metric("unwritten", 1, 1, 1)], params=[Param("lr", "8")]))
        self.note("nothing of it", lambda: c.get_metric_history(special, "unwritten"), points)
        self.note("key twice", lambda: c.log_batch(special, params=[Param("twice", "1"), Param("twice", "2")]))
        for key in ("", "a//b", "../up", "/abs", "semi;colon", "x" * 251, "tab\tkey", "ok/a-b.c d:e", "ünïcode", "."):
            self.note(f"metric {key[:20]!r}", lambda: c.log_metric(special, key, 1.0, timestamp=1))
            self.note(f"param {key[:20]!r}", lambda: c.log_param(special, key, "v"))
            self.note(f"tag {key[:20]!r}", lambda: c.set_tag(special, key, "v"))
        self.note("bad time", lambda: c.log_metric(special, "t", 1.0, timestamp=-1))
        self.note("long param", lambda: c.log_param(special, "long", "é" * 6100))
        self.note("long tag", lambda: c.set_tag(special, "long", "é" * 8100))
        self.note("empty values", lambda: (c.log_param(special, "empty", ""), c.set_tag(special, "empty", "")))
        self.note("all of it", lambda: c.get_run(special), ran)
        c.set_tag(special, "mlflow.runName", "named by tag")
        self.note("named by tag", lambda: c.get_run(special), ran)
        c.update_run(special, status="FAILED", name="named")
        self.note("updated", lambda: c.get_run(special), ran)
        c.set_terminated(self.r[1], "KILLED", end_time=5000)
        self.note("terminated", lambda: c.get_run(self.r[1]), ran)
        c.delete_tag(special, "i")
        self.note("tag again", lambda: c.delete_tag(special, "i"))
        c.set_tag(special, "i", "0")
        self.note("two names", lambda: c.create_run(self.a, tags={"mlflow.runName": "x"}, run_name="y"))
        self.note("name by tag", lambda: c.create_run(self.b, start_time=1, tags={"mlflow.runName": "x"}), ran)
        self.note("no experiment", lambda: c.create_run("123456789"))
        dataset = Dataset("d", "digest", "local", "{}", schema="s", profile="p")
        c.log_inputs(special, [DatasetInput(dataset, [InputTag("mlflow.data.context", "train")])])
        c.log_inputs(self.r[1], [DatasetInput(Dataset("e", "other", "local", "{}"), [])])
        self.note("inputs", lambda: c.get_run(special), ran)
        c.delete_run(self.r[7])
        self.note("deleted", lambda: c.get_run(self.r[7]), ran)
        self.note("log to deleted", lambda: c.log_metric(self.r[7], "loss", 1.0))

    FILTERS = """
        metrics.loss < 0.3
        metrics.loss <= 0.5 AND metrics.`val/acc` >= 20
        metric."val/acc" = 30
        metrics.loss != 1
        metrics.special = 0
        metrics.special != 0
        metrics.special > 0
        metrics.`odd only` < -1
        metrics.loss > 1e-3
        metrics.loss > -1.5e+2
        metrics.loss > .2
        params.lr = '0.1'
        params.lr = "0.1"
        param.Opt LIKE 'A%'
        parameters.Opt LIKE 'a%'
        params.Opt ILIKE 'a%'
        params.Opt ilike '%D%'
        params.`a b` = 'x%y_z'
        params.`a b` LIKE 'x%z'
        params.`a b` LIKE 'x_y_z'
        params.`a b` LIKE 'x\\%y%'
        params.Opt != 'Adam'
        params.nothing != 'x'
        params.nothing IS NULL
        params.Opt is not null
        tags.parity = 'odd' and tags.`k.dot` != '3'
        tag.k.dot = '2'
        tags."k.dot" = '2'
        tags.parity LIKE '%e%'
        tags.parity LIKE 'od'
        tags.nothing IS NULL AND tags.i IS NOT NULL
        tags.mlflow.runName = 'run-3'
        attributes.status = 'RUNNING'
        attribute.status != 'RUNNING'
        status = 'KILLED'
        attr.run_name LIKE 'run-%'
        run_name = 'run-2'
        `run name` = 'run-2'
        attributes.start_time > 1001
        start_time <= 1002 AND Created >= 1001
        attributes.end_time = 5000
        attributes.end_time > 0
        attributes.user_id = 'me'
        run.status ILIKE 'run%'
        dataset.name = 'd'
        datasets.digest LIKE 'oth%'
        dataset.context = 'train'
        dataset.name IN ('d', 'e')
        dataset.context = 'test'
        metrics.loss = '0.5'
        metrics.loss LIKE '0.5'
        params.lr = 0.1
        params.lr > '0'
        params.lr IN ('0.1')
        attributes.status IN ('RUNNING')
        attributes.start_time = '1000'
        attributes.nothing = 'x'
        nothing = 'x'
        nothings.a = 'x'
        metrics.loss < 0.3 OR metrics.loss > 0.5
        metrics.loss < 0.3 AND
        AND metrics.loss < 0.3
        metrics.loss
        metrics.loss <
        < 0.3
        metrics.loss == 0.5
        metrics.loss <> 0.5
        params.lr = 'a' 'b'
        params.lr = lr
        (metrics.loss < 0.3)
        NOT metrics.loss < 0.3
        params.lr = '0.1
        metrics.loss < 0.3;
        metrics.loss < 0.3, metrics.loss > 0.1
        attributes.run_id = 'x'
        attributes.run_id IN ('x', 'y')
        attributes.run_id IN ('x')
        attributes.run_id NOT IN ('x', "y")
        attributes.run_id IN ()
        attributes.run_id IN (x)
        attributes.run_id IN ('x', 3)
        attributes.start_time > 1000.5
        attributes.artifact_uri != ''
        metrics.loss IS NULL
        tags.parity != 'od''d'
        params.lr = ''
        attributes.lifecycle_stage = 'active'
        dataset.nothing = 'x'
        metrics.loss BETWEEN 1 AND 2
        metrics . loss < 0.3
        metrics.loss<0.3 and params.lr='0.1'
        TAGS.parity = 'odd'
    """.strip("\n").split("\n")

    ORDERS = [["metrics.loss"], ["metrics.loss DESC"], ["metrics.special ASC"], ["metrics.special DESC"], ["metrics.`odd only`", "params.lr DESC"], ["params.Opt", "tags.i DESC"],
              ["attributes.start_time ASC", "metrics.loss"], ["start_time DESC", "run_name"], ["tags.`k.dot` desc"], ["end_time", "tags.i"], ["end_time DESC", "tags.i"],
              ["attributes.status", "tag.i"], ["Created", "tags.i"], ["metrics.loss up"], ["nothing"], ["metrics.loss DESC extra"], ["dataset.name"], [""], ["metrics.loss", "metrics.loss DESC"],
              ["params.nothing", "tags.i"], ["metrics.\"val/acc\" DESC"]]

    def search(self):
        c = self.c
        show = lambda runs: [r.data.tags.get("i") for r in runs]
        for f in self.FILTERS:
            self.note("search " + f.strip(), lambda: c.search_runs([self.a], filter_string=f.strip(), order_by=["tags.i"]), show)
        for o in self.ORDERS:
            self.note(f"order {o}", lambda: c.search_runs([self.a], order_by=o + (["tags.i"] if o[0].startswith(("metrics", "params")) and len(o) == 1 else [])), show)
        for view in (ViewType.ACTIVE_ONLY, ViewType.DELETED_ONLY, ViewType.ALL):
            self.note(f"view {view}", lambda: c.search_runs([self.a], run_view_type=view, order_by=["tags.i"]), show)
        self.note("both", lambda: c.search_runs([self.b, self.a], filter_string="attributes.start_time >= 0", order_by=["start_time", "tags.i"]), show)
        self.note("nowhere", lambda: c.search_runs([]), show)
        for order in (["metrics.loss"], ["start_time DESC", "tags.i"]):
            token, pages = None, []
            while True:
                page = c.search_runs([self.a], max_results=3, order_by=order, page_token=token)
                pages.append(show(page))
                token = page.token
                if not token:
                    break
            self.answers.append((f"pages by {order}", pages))
        token, seen = None, []
        while True:
            page = c.search_runs([self.a], max_results=2, page_token=token)
            seen += [r.info.start_time for r in page]
            token = page.token
            if not token:
                break
        self.answers.append(("pages by start", seen))
        self.note("too many", lambda: c.search_runs([self.a], max_results=50001))
        self.note("bad token", lambda: c.search_runs([self.a], page_token="!"))
        self.note("own id", lambda: c.search_runs([self.a], filter_string=f"attributes.run_id IN ('{self.r[0]}', '{self.r[2]}')", order_by=["tags.i"]), show)
        self.note("not own id", lambda: c.search_runs([self.a], filter_string=f"run_id NOT IN ('{self.r[0]}')", order_by=["tags.i"]), show)
        c.restore_run(self.r[7])
        self.note("restored", lambda: c.get_run(self.r[7]), ran)

    def logged_models(self):
        c = self.c
        show = lambda m: plain((m.name, m.model_type, str(m.status), m.tags, m.params, [(x.key, x.value, x.step) for x in m.metrics or []]))
        names = lambda models: [m.name for m in models]
        made = []
        for i in range(4):
            m = c.create_logged_model(self.a, name=f"model-{i}", source_run_id=self.r[i], tags={"even": str(i % 2 == 0)}, params={"depth": str(i)}, model_type="tree" if i < 2 else "net")
            made.append(m.model_id)
            c.log_metric(self.r[i], "score", i / 10, timestamp=1, step=1, model_id=m.model_id)
        c.finalize_logged_model(made[0], LoggedModelStatus.READY)
        c.set_logged_model_tags(made[0], {"more": "x"})
        self.note("model", lambda: c.get_logged_model(made[0]), show)
        c.delete_logged_model_tag(made[0], "more")
        self.note("model tag again", lambda: c.delete_logged_model_tag(made[0], "more"))
        self.note("model absent", lambda: c.get_logged_model("m-0"))
        self.note("model bad name", lambda: c.create_logged_model(self.a, name="a/b"))
        for f in ("name = 'model-1'", "name LIKE 'model%'", "model_type = 'tree'", "tags.even = 'True'", "params.depth = '2'", "metrics.score > 0.1", "metrics.score > 0.1 AND params.depth != '3'",
                  "name IN ('model-0', 'model-3')", "nothing = 'x'", "name > 'a'", "creation_timestamp > 0"):
            self.note("models " + f, lambda: sorted(names(c.search_logged_models([self.a], filter_string=f))))
        for o in ([{"field_name": "name", "ascending": False}], [{"field_name": "metrics.score"}], [{"field_name": "creation_timestamp"}, {"field_name": "name"}], [{"field_name": "nothing"}]):
            self.note(f"models by {o}", lambda: names(c.search_logged_models([self.a], order_by=o)))
        c.delete_logged_model(made[3])
        self.note("models left", lambda: sorted(names(c.search_logged_models([self.a]))))
        self.note("model deleted", lambda: c.get_logged_model(made[3]))


# What is answered otherwise on purpose, and why.
DELIBERATE = {
    "rename deleted": "a store in the same process keeps the code that the client loses when a server answers 500",
    "search metrics.loss > -1.5e+2": "a number may have a sign in its exponent",
    "search metrics.loss < 0.3 AND": "an AND without a condition is a mistake",
    "search AND metrics.loss < 0.3": "an AND without a condition is a mistake",
    "search attributes.run_id IN (x)": "bad input is no internal error",
    "order ['metrics.loss', 'metrics.loss DESC']": "bad input is no internal error",
}


def main(ours, theirs):
    both = [Script(ours), Script(theirs)]
    for part in ("experiments", "runs", "search", "logged_models"):
        for s in both:
            getattr(s, part)()
    different = 0
    for (name, a), (other, b) in zip(both[0].answers, both[1].answers, strict=True):
        assert name == other, (name, other)
        if name not in DELIBERATE and json.dumps(a, sort_keys=True) != json.dumps(b, sort_keys=True):
            different += 1
            print(f"DIFFERENT {name}\n  here   {str(a)[:1500]}\n  MLflow {str(b)[:1500]}")
    print(f"{len(both[0].answers)} answers compared, {different} differ")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
