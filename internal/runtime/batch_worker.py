"""A scoring process of a batch job: it loads the scoring script or MLflow model, and scores the mini-batches that it is told of.

The runtime writes one JSON line for each mini-batch to descriptor 3, {"files": [paths], "out": path}, and reads one for each answer from
descriptor 4: {"ready": true} or {"code", "error"} once, then {"rows": n}, with the rows in the file of that path, or {"error": traceback}.
"""

import csv
import json
import logging
import os
import sys
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from inference_server import Model, Script, ScriptError, fitting, plain, table  # noqa: E402


def load():
    entry = os.environ.get("AZUREML_ENTRY_SCRIPT")
    if entry:
        return Script(os.environ["AML_APP_ROOT"], entry).run
    model = Model(os.environ.get("AZUREML_MODEL_DIR", ""))
    return lambda files: Rows(row for f in files for row in predictions(model, f))


class Rows(list):
    """Rows of cells, which are written as CSV."""


def predictions(model, path):
    """What a model says of the rows of a table, or of an image: [row, prediction…, file]."""
    name = os.path.basename(path)
    try:
        said = model.predict(read(path, model.schema))
    except Exception as e:
        raise RuntimeError("%s cannot be scored: %s" % (name, e)) from e
    for i, p in enumerate(items(said)):
        yield [i] + (list(p) if isinstance(p, (list, tuple)) else [p]) + [name]


def read(path, schema):
    """What is in a file, by the ending of its name, as the input of a model with a signature's schema or None."""
    kind = os.path.splitext(path)[1].lower()
    if kind in IMAGES:
        return image(path, schema)
    return fitting(TABLES.get(kind, read_csv)(path, schema), schema)


def read_csv(path, schema):
    try:
        import pandas
    except ImportError:
        with open(path, newline="", encoding="utf-8") as f:
            _, *rows = list(csv.reader(f))
        return table({"columns": None, "data": [[float(v) for v in r] for r in rows]})
    named = schema is not None and not schema.is_tensor_spec() and schema.has_input_names()
    texts = {c.name: str for c in schema.inputs if getattr(c.type, "name", "") == "string"} if named else {}
    return pandas.read_csv(path, dtype=texts)  # a text of digits stays a text


def read_parquet(path, schema):
    import pandas

    return pandas.read_parquet(path)


def read_json(path, schema):
    with open(path, encoding="utf-8") as f:
        return table(json.load(f))


def read_json_lines(path, schema):
    with open(path, encoding="utf-8") as f:
        return table([json.loads(line) for line in f if line.strip()])


TABLES = {".csv": read_csv, ".parquet": read_parquet, ".pqt": read_parquet, ".json": read_json, ".jsonl": read_json_lines}
IMAGES = (".png", ".jpg", ".jpeg", ".tiff", ".bmp", ".gif")


def image(path, schema):
    """The pixels of an image as one example, in the shape and type that the model's signature has."""
    import numpy
    from PIL import Image

    with Image.open(path) as f:
        pixels = numpy.asarray(f)
    if schema is None or not schema.is_tensor_spec():
        return pixels[numpy.newaxis]
    tensor = schema.inputs[0]
    shape = [1, *tensor.shape[1:]]
    if shape.count(-1) > 1:  # it takes images of any size
        return pixels[numpy.newaxis].astype(tensor.type)
    return pixels.reshape(shape).astype(tensor.type)


def items(result):
    """The rows in what run() returned, each a text, a list of cells or any other value."""
    if result is None:
        raise TypeError("run() returned None; it must return a list or a pandas DataFrame, with one entry for each file or more")
    if hasattr(result, "to_csv") and hasattr(result, "columns"):
        return Rows(result.values.tolist())
    if isinstance(result, (list, tuple)):
        return result
    if isinstance(result, (str, bytes, dict)):
        raise TypeError("run() returned a %s; it must return a list or a pandas DataFrame" % type(result).__name__)
    if hasattr(result, "tolist"):
        return plain(result)
    return list(result)


def write(result, path):
    """Writes rows, those of frames as CSV and entries of lists as their text, unless nobody wants them. Gives how many there are."""
    if not path:
        return len(result) if hasattr(result, "__len__") else 0
    rows = items(result)
    with open(path, "w", newline="", encoding="utf-8") as f:
        if hasattr(result, "to_csv") and hasattr(result, "columns"):
            result.to_csv(f, header=False, index=False)
        elif isinstance(rows, Rows):
            csv.writer(f, lineterminator="\n").writerows(rows)
        else:
            f.writelines(str(row) + "\n" for row in rows)
    return len(rows)


def main():
    requests = os.fdopen(3, "r", encoding="utf-8")
    answers = os.fdopen(4, "w", encoding="utf-8")

    def say(answer):
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    level = os.environ.get("AZUREML_BATCH_LOGGING_LEVEL", "info").upper()
    logging.basicConfig(level=getattr(logging, level, logging.INFO), format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stdout)
    try:
        run = load()
    except ScriptError as e:
        say({"code": e.code, "error": str(e)})
        return 1
    say({"ready": True})
    for line in requests:
        call = json.loads(line)
        try:
            rows = write(run(call["files"]), call["out"])
        except BaseException:
            say({"error": traceback.format_exc()})
        else:
            say({"rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
