"""The scoring server of Fairlead, for images without the ecosystem's own (azureml-inference-server-http), whose contract it keeps.

GET / says that it is healthy, /score calls run(), /swagger.json describes that. A front process answers HTTP and hands each call to one of
WORKER_COUNT processes, each of which has loaded the scoring script and called its init() once; run() is never called twice at a time in
one of them. Python 3.7 or later, no other package.
"""

import http.server
import importlib.util
import inspect
import json
import os
import queue
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import traceback
import types
import urllib.parse

MAX_BODY = 100 << 20  # the reference's bound of a payload
CODES = {"UserScriptInitFailed": 3, "UserScriptImportError": 4, "UserScriptFunctionNotFound": 5}


class ScriptError(Exception):
    """What is wrong with the scoring script, in the reference's word."""

    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


# The contract with azureml.contrib.services, for scripts that ask for the whole request.


class Request:
    """What run() gets when it is decorated with rawhttp: the parts of a Flask request that scripts use."""

    def __init__(self, method, path, query, headers, body):
        self.method, self.headers, self.data = method, headers, body
        self.full_path = path + ("?" + query if query else "?")
        self.path, self.query_string = path, query.encode()
        self.args = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))

    def get_data(self, as_text=False, **_):
        return self.data.decode("utf-8", "replace") if as_text else self.data

    def get_json(self, *_, **__):
        return json.loads(self.data)

    json = property(get_json)


class AMLResponse:
    """An answer with a status and headers of its own."""

    def __init__(self, message, status_code, response_headers=None, json_str=False, run_function_failed=False):
        self.body = json.dumps(message, default=plain).encode() if json_str else as_bytes(message)
        self.headers = dict(response_headers or {})
        if json_str:
            self.headers.setdefault("Content-Type", "application/json")
        if run_function_failed:
            self.headers["x-ms-run-function-failed"] = "True"
        self.status = status_code


def rawhttp(run):
    run._fairlead_raw = True
    return run


def offer_modules():
    """Gives scripts that import azureml.contrib.services what they ask for, unless the image has it."""
    try:
        if importlib.util.find_spec("azureml.contrib.services") is not None:
            return
    except ImportError:
        pass
    request = types.ModuleType("azureml.contrib.services.aml_request")
    request.rawhttp, request.AMLRequest = rawhttp, Request
    response = types.ModuleType("azureml.contrib.services.aml_response")
    response.AMLResponse = AMLResponse
    for name in ("azureml", "azureml.contrib", "azureml.contrib.services"):
        sys.modules.setdefault(name, types.ModuleType(name))
    sys.modules[request.__name__], sys.modules[response.__name__] = request, response
    services = sys.modules["azureml.contrib.services"]
    services.aml_request, services.aml_response = request, response


def plain(value):
    """Turns arrays, frames and numbers of libraries into what JSON knows."""
    for name in ("tolist", "to_dict", "item"):
        method = getattr(value, name, None)
        if callable(method):
            return method("records") if name == "to_dict" and hasattr(value, "columns") else method()
    raise TypeError("run() returned a %s, which is not JSON; return lists, dicts, numbers and strings" % type(value).__name__)


def as_bytes(message):
    return message if isinstance(message, bytes) else str(message).encode()


# A worker: the scoring script.


class Script:
    """A scoring script with init() and run()."""

    def __init__(self, root, entry):
        path = os.path.join(root, entry)
        sys.path[:0] = [os.path.dirname(os.path.abspath(path)), os.path.abspath(root)]
        os.chdir(root)
        offer_modules()
        try:
            spec = importlib.util.spec_from_file_location("entry_module", path)
            module = importlib.util.module_from_spec(spec)
            sys.modules["entry_module"] = module
            spec.loader.exec_module(module)
        except BaseException:
            raise ScriptError("UserScriptImportError", "%s cannot be imported:\n%s" % (entry, traceback.format_exc()))
        for name in ("init", "run"):
            if not callable(getattr(module, name, None)):
                raise ScriptError("UserScriptFunctionNotFound", "%s has no function %s(); a scoring script has init() and run(raw_data)" % (entry, name))
        self.run, self.raw = module.run, getattr(module.run, "_fairlead_raw", False)
        parameters = [p.name for p in inspect.signature(module.run).parameters.values()]
        self.headers = "request_headers" in parameters
        if not [p for p in parameters if p != "request_headers"]:
            raise ScriptError("UserScriptFunctionNotFound", "run() of %s takes no argument; it is called as run(raw_data)" % entry)
        try:
            module.init()
        except BaseException:
            raise ScriptError("UserScriptInitFailed", "init() of %s failed:\n%s" % (entry, traceback.format_exc()))

    def score(self, call, body):
        if self.raw:
            data = Request(call["method"], call["path"], call["query"], call["headers"], body)
        elif call["method"] == "GET":
            data = json.dumps(dict(urllib.parse.parse_qsl(call["query"], keep_blank_values=True)))
        else:
            try:
                data = body.decode()
            except UnicodeDecodeError:
                return 400, {}, b"the body is not UTF-8; a script that takes bytes decorates run() with rawhttp"
        extra = {"request_headers": call["headers"]} if self.headers else {}
        return answer(self.run(data, **extra))


class Model:
    """An MLflow model without a scoring script: by mlflow where the image has it, else scikit-learn's flavor by itself."""

    def __init__(self, folder):
        self.schema = None
        found = [d for d, _, files in os.walk(folder, followlinks=True) if "MLmodel" in files]
        if not found:
            raise ScriptError("UserScriptInitFailed", "the model has no file MLmodel, and the deployment no scoring script")
        # The files may be links, one by one, to where the model really is, and MLflow refuses what leads out of the model's folder.
        folder = os.path.dirname(os.path.realpath(os.path.join(min(found, key=len), "MLmodel")))
        try:
            self.predict = self.load(folder)
        except BaseException:
            raise ScriptError("UserScriptInitFailed", "the MLflow model cannot be loaded:\n%s" % traceback.format_exc())

    def load(self, folder):
        try:
            import mlflow.pyfunc
        except ImportError:
            pass
        else:
            model = mlflow.pyfunc.load_model(folder)
            self.schema = model.metadata.get_input_schema()
            return model.predict
        flavor = flavors(os.path.join(folder, "MLmodel")).get("sklearn")
        if flavor is None:
            raise ImportError("the image has no mlflow, and the model no flavor sklearn, the only one that is served without")
        path = os.path.join(folder, flavor.get("pickled_model", "model.pkl"))
        try:
            import joblib
        except ImportError:
            import pickle

            with open(path, "rb") as f:
                return pickle.load(f).predict
        return joblib.load(path).predict

    def score(self, call, body):
        if call["method"] != "POST":
            return 405, {}, b"send the model's input by POST"
        try:
            rows = fitting(table(json.loads(body)), self.schema)
        except (ValueError, KeyError, TypeError) as e:
            return 400, {}, ("the body is not the input of a model, such as {\"input_data\": [[1, 2]]}: %s" % e).encode()
        try:
            return answer(self.predict(rows))
        except Exception as e:
            if getattr(e, "error_code", "") not in ("BAD_REQUEST", "INVALID_PARAMETER_VALUE"):
                raise
            return 400, {}, ("the body is not what the model's signature says: %s" % e).encode()


def fitting(rows, schema):
    """Gives rows, as JSON has them, the names and types of a model's signature, which MLflow insists on."""
    if schema is None:
        return rows
    import numpy

    if schema.is_tensor_spec():
        if len(schema.inputs) > 1:
            raise ValueError("the model takes several tensors, which needs a scoring script")
        return numpy.asarray(rows, dtype=schema.inputs[0].type)
    import pandas

    names = schema.input_names() if schema.has_input_names() else None
    if not isinstance(rows, pandas.DataFrame):
        if names and len(rows) and len(rows[0]) != len(names):
            raise ValueError("a row has %d values, the model takes %s" % (len(rows[0]), ", ".join(names)))
        rows = pandas.DataFrame(rows, columns=names)
    kinds = {c.name: c.type.name for c in schema.inputs if names and c.name in rows.columns and hasattr(c.type, "name")}
    numbers = {"double": "float64", "float": "float32"}  # JSON writes 5 for 5.0
    rows = rows.astype({name: numbers[kind] for name, kind in kinds.items() if kind in numbers})
    for name, kind in kinds.items():
        if kind == "datetime":
            rows[name] = pandas.to_datetime(rows[name])
        elif kind == "integer":
            rows[name] = rows[name].astype("int32") if (rows[name] == rows[name].astype("int32")).all() else rows[name]
    return rows


def flavors(path):
    """Reads the flavors of an MLmodel file, which is YAML, with or without a library for it."""
    with open(path, encoding="utf-8") as f:
        text = f.read()
    try:
        import yaml

        return yaml.safe_load(text).get("flavors") or {}
    except ImportError:
        pass
    out, flavor, inside = {}, {}, False
    for line in text.splitlines():
        depth = len(line) - len(line.lstrip())
        name, _, value = line.strip().partition(":")
        if depth == 0 and name:
            inside = name == "flavors"
        elif inside and depth == 2 and not name.startswith("-"):
            flavor = out.setdefault(name, {})
        elif inside and depth == 4 and value.strip():
            flavor[name] = value.strip().strip("'\"")
    return out


def table(doc):
    """The rows in what MLflow's clients send."""
    for key in ("input_data", "dataframe_split", "dataframe_records", "instances", "inputs"):
        if isinstance(doc, dict) and key in doc:
            doc = doc[key]
            break
    columns = None
    if isinstance(doc, dict) and "data" in doc:
        columns, doc = doc.get("columns"), doc["data"]
    if not isinstance(doc, list):
        raise ValueError("it holds no list of rows")
    try:
        if columns:
            import pandas

            return pandas.DataFrame(doc, columns=columns)
        if doc and isinstance(doc[0], dict):
            import pandas

            return pandas.DataFrame(doc)
        import numpy

        return numpy.asarray(doc)
    except ImportError:
        return doc


def answer(result):
    if hasattr(result, "status_code") and callable(getattr(result, "get_data", None)):  # a Flask response, the real AMLResponse
        return result.status_code, dict(result.headers), result.get_data()
    if isinstance(result, AMLResponse):
        return result.status, result.headers, result.body
    return 200, {"Content-Type": "application/json"}, json.dumps(result, default=plain).encode()


def work(channel):
    """A worker's life: load, tell, then answer one call after another."""
    try:
        entry = os.environ.get("AZUREML_ENTRY_SCRIPT")
        scorer = Script(os.environ.get("AML_APP_ROOT", os.getcwd()), entry) if entry else Model(os.environ.get("AZUREML_MODEL_DIR", ""))
    except ScriptError as e:
        sys.stderr.write("%s: %s\n" % (e.code, e))
        sys.stderr.flush()
        os._exit(CODES[e.code])
    send(channel, {"ready": True}, b"")
    while True:
        call, body = receive(channel)
        try:
            status, headers, out = scorer.score(call, body)
        except BaseException:
            sys.stderr.write("run() failed:\n%s" % traceback.format_exc())
            sys.stderr.flush()
            status, headers, out = 500, {"x-ms-run-function-failed": "True"}, b"run() failed; the log of container inference-server has the traceback"
        send(channel, {"status": status, "headers": headers}, out)


# The front: HTTP, and who works.


def send(channel, head, body):
    head = json.dumps(head).encode()
    channel.sendall(struct.pack("!II", len(head), len(body)) + head)
    if body:
        channel.sendall(body)


def receive(channel):
    head, body = struct.unpack("!II", exactly(channel, 8))
    return json.loads(exactly(channel, head)), exactly(channel, body)


def exactly(channel, size):
    parts, left = [], size
    while left:
        part = channel.recv(min(left, 1 << 20))
        if not part:
            raise EOFError("the other process is gone")
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


class Worker:
    """A process that has the script loaded."""

    def __init__(self):
        self.channel, theirs = socket.socketpair()
        self.process = subprocess.Popen([sys.executable, "-u", os.path.abspath(__file__), "--worker", str(theirs.fileno())], pass_fds=[theirs.fileno()])
        theirs.close()

    def ready(self):
        """Waits until it has loaded; gives the code of a process that could not."""
        try:
            receive(self.channel)
            return 0
        except (EOFError, OSError):
            return self.process.wait() or 1

    def call(self, head, body, timeout):
        self.channel.settimeout(timeout)
        send(self.channel, head, body)
        return receive(self.channel)

    def end(self):
        self.channel.close()
        self.process.kill()
        self.process.wait()


class Pool:
    """The workers; each call gets one that is idle. One that dies or hangs is replaced."""

    def __init__(self, count, timeout):
        self.idle, self.timeout = queue.Queue(), timeout
        for worker in [Worker() for _ in range(count)]:
            self.admit(worker)

    def admit(self, worker):
        code = worker.ready()
        if code:
            os._exit(code if code > 0 else 1)  # a pod that cannot serve ends; Kubernetes starts it again, more slowly each time
        self.idle.put(worker)

    def call(self, head, body):
        worker = self.idle.get()
        try:
            reply, out = worker.call(head, body, self.timeout)
        except (EOFError, OSError) as e:
            worker.end()
            threading.Thread(target=lambda: self.admit(Worker()), daemon=True).start()
            why = "took longer than WORKER_TIMEOUT, %s s" % self.timeout if isinstance(e, socket.timeout) else "ended its process"
            sys.stderr.write("run() %s\n" % why)
            return 500, {"x-ms-run-function-failed": "True"}, ("run() " + why).encode()
        self.idle.put(worker)
        return reply["status"], reply["headers"], out


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "fairlead-inference", ""
    timeout = 300  # of a connection that says nothing
    wbufsize = -1  # head and body in one packet
    disable_nagle_algorithm = True
    pool = None
    quitting = threading.Event()

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        if url.path == "/":
            return self.reply(200, {"Content-Type": "text/plain"}, b"Healthy")
        if url.path == "/swagger.json":
            version = dict(urllib.parse.parse_qsl(url.query)).get("version", "2")
            return self.reply(200, {"Content-Type": "application/json"}, swagger(version)) if version in ("2", "3") else self.reply(404, {}, b"there are versions 2 and 3")
        self.score(url)

    def do_POST(self):
        self.score(urllib.parse.urlsplit(self.path))

    def score(self, url):
        body, wrong = self.body()
        if wrong:
            self.close_connection = True
            return self.reply(wrong[0], {}, wrong[1])
        if url.path != "/score":
            return self.reply(404, {}, b"there are /, /score and /swagger.json")
        began = time.monotonic()
        head = {"method": self.command, "path": url.path, "query": url.query, "headers": dict(self.headers)}
        status, headers, out = self.pool.call(head, body)
        self.reply(status, headers, out)
        print("%s %s %d %.1fms %d" % (self.command, self.path, status, (time.monotonic() - began) * 1000, len(out)), flush=True)

    def body(self):
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            return self.chunks()
        try:
            size = int(self.headers.get("Content-Length") or 0)
        except ValueError:
            size = -1
        if size < 0:
            return b"", (400, b"Content-Length is not a number")
        if size > MAX_BODY:
            return b"", (413, b"the body is larger than 100 MiB")
        data = self.rfile.read(size)
        return data, None if len(data) == size else (400, b"the body is shorter than Content-Length")

    def chunks(self):
        parts, total = [], 0
        while True:
            try:
                size = int(self.rfile.readline(64).split(b";")[0], 16)
            except ValueError:
                size = -1
            if size < 0 or total + size > MAX_BODY:
                return b"", (413, b"the body is larger than 100 MiB, or not chunked as it says")
            if size == 0:
                while self.rfile.readline(65536) not in (b"\r\n", b"\n", b""):
                    pass
                return b"".join(parts), None
            parts.append(self.rfile.read(size))
            self.rfile.readline(8)
            total += size

    def reply(self, status, headers, body):
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "connection", "transfer-encoding", "date", "server"):
                self.send_header(name, str(value).replace("\r", " ").replace("\n", " "))
        self.send_header("Content-Length", str(len(body)))
        if self.headers.get("x-request-id"):
            self.send_header("x-request-id", self.headers["x-request-id"])
        if self.quitting.is_set():
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, *_):
        pass


def swagger(version):
    """The document of the script's folder, or one that says what any script does."""
    for name in ("swagger%s.json" % version, "swagger.json"):
        path = os.path.join(os.environ.get("AML_APP_ROOT", ""), name)
        if os.path.isfile(path):
            with open(path, "rb") as f:
                return f.read()
    ok = {"description": "what run() returns", "content": {"application/json": {"schema": {}}}} if version == "3" else {"description": "what run() returns", "schema": {}}
    post = {"operationId": "RunMLService", "responses": {"200": ok, "default": {"description": "run() failed"}}}
    if version == "3":
        post["requestBody"] = {"content": {"application/json": {"schema": {}}}}
    else:
        post["parameters"] = [{"name": "input", "in": "body", "schema": {}}]
        post["consumes"] = post["produces"] = ["application/json"]
    doc = {"openapi": "3.0.3"} if version == "3" else {"swagger": "2.0"}
    doc.update({"info": {"title": os.environ.get("SERVICE_NAME", "ML service"), "version": "1.0"}, "paths": {"/score": {"post": post}}})
    return json.dumps(doc).encode()


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 1024
    daemon_threads = False  # those that answer are waited for
    block_on_close = False

    def handle_error(self, request, client_address):
        pass  # a caller that went away


def number(name, default):
    value = os.environ.get(name) or default
    try:
        if int(value) > 0:
            return int(value)
    except ValueError:
        pass
    sys.exit("environment variable %s is %r; it must be a whole number from 1 on" % (name, value))


def serve(port):
    Handler.pool = Pool(number("WORKER_COUNT", 1), number("WORKER_TIMEOUT", 300))
    server = Server(("", port), Handler)

    def stop(*_):
        Handler.quitting.set()
        threading.Thread(target=server.shutdown, daemon=True).start()

    for sign in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sign, stop)
    print("scoring on port %d" % port, flush=True)
    server.serve_forever(poll_interval=0.1)
    server.server_close()
    time.sleep(0.1)
    while Handler.pool.idle.qsize() < number("WORKER_COUNT", 1):  # what is being answered
        time.sleep(0.05)
    os._exit(0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the front says when
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            work(socket.socket(fileno=int(sys.argv[2])))
        except (EOFError, OSError, KeyboardInterrupt):
            pass
    else:
        serve(int(os.environ.get("AZUREML_INFERENCE_PORT") or 5001))
