"""A server of SavedModels on the loopback address that speaks TensorFlow Serving's protocol over gRPC and REST.

Paths, forms of requests and answers, statuses and the words of errors are those of tensorflow_serving's sources
(`model_servers/http_rest_api_handler.cc`, `util/json_tensor.cc`, `servables/tensorflow/predict_util.cc`).  It only has
what a client of Predict needs: Predict, model metadata and model status.
"""

import base64
import binascii
import contextlib
import json
import pathlib
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc

Code = grpc.StatusCode
# As TensorFlow Serving's HTTP server maps them; any other code is 500.
HTTP_STATUS = {
    Code.INVALID_ARGUMENT: 400,
    Code.FAILED_PRECONDITION: 400,
    Code.OUT_OF_RANGE: 400,
    Code.NOT_FOUND: 404,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.UNIMPLEMENTED: 501,
    Code.UNAVAILABLE: 503,
    Code.DEADLINE_EXCEEDED: 504,
}
MODEL_PATH = r"/v1/models/([^/:]+)(?:/versions/(\d+)|/labels/([\w.-]+))?"


class Refusal(Exception):
    """An error that the client receives: gRPC's code and the server's words."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code, self.message = code, message


class Servable:
    """One version of a model: runs and describes its signatures."""

    def __init__(self, folder):
        from tensorflow.core.protobuf import saved_model_pb2

        self.loaded = tf.saved_model.load(str(folder))
        graph = saved_model_pb2.SavedModel.FromString((pathlib.Path(folder) / "saved_model.pb").read_bytes())
        self.signature_defs = graph.meta_graphs[0].signature_def

    def inputs(self, signature):
        """The names and TensorSpecs of a signature's inputs, sorted by name."""
        return dict(sorted(self.loaded.signatures[signature].structured_input_signature[1].items()))

    def run(self, signature, inputs):
        """Run a signature: NumPy inputs by name -> NumPy outputs by name."""
        specs = self.inputs(signature)
        if set(inputs) != set(specs):
            raise Refusal(
                Code.INVALID_ARGUMENT,
                f"input size does not match signature: {len(inputs)}!={len(specs)} len({{{','.join(sorted(inputs))}}}) "
                f"!= len({{{','.join(specs)}}}). Sent extra: {{{','.join(sorted(set(inputs) - set(specs)))}}}. "
                f"Missing but required: {{{','.join(sorted(set(specs) - set(inputs)))}}}.",
            )
        try:
            tensors = {name: tf.constant(value, specs[name].dtype) for name, value in inputs.items()}
            return {name: value.numpy() for name, value in self.loaded.signatures[signature](**tensors).items()}
        except tf.errors.OpError as error:
            raise Refusal(next(code for code in Code if code.value[0] == error.error_code), error.message) from None
        except (TypeError, ValueError) as error:
            raise Refusal(Code.INVALID_ARGUMENT, str(error)) from None


class ServingServer:
    """Serves until the `with` block ends.

    Args:
      models: name -> folder of version folders, as `base_path` of a model's configuration.
      labels: label -> version, of all models.
    """

    def __init__(self, models, labels=None):
        self.models = {
            name: {int(path.name): Servable(path) for path in pathlib.Path(base).iterdir() if path.name.isdigit()}
            for name, base in models.items()
        }
        self.labels = labels or {}
        self.batches = []  # rows of the first input of each prediction that was not refused
        self.tries = 0  # requested predictions
        self._failures = 0
        self._answer = threading.Event()
        self._answer.set()
        self._lock = threading.Lock()
        self._running = 0  # predictions that were neither refused nor answered yet
        self._idle = threading.Condition(self._lock)

    def fail(self, times):
        """Refuse the next predictions, like a server whose queue is full."""
        self._failures = times

    def hold(self):
        """Delay all answers until the returned event is set."""
        self._answer.clear()
        return self._answer

    def address(self, protocol):
        """HOST:PORT of "rest" or "grpc"."""
        return {"rest": self.rest_address, "grpc": self.grpc_address}[protocol]

    def __enter__(self):
        self._grpc = grpc.server(
            ThreadPoolExecutor(4),
            # TensorFlow Serving's limit of a request, 2 GiB, instead of gRPC's 4 MB.
            options=[("grpc.max_receive_message_length", 2**31 - 1), ("grpc.max_send_message_length", -1)],
        )
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(_PredictionService(self), self._grpc)
        self.grpc_address = f"127.0.0.1:{self._grpc.add_insecure_port('127.0.0.1:0')}"
        self._grpc.start()
        self._http = _HTTPServer(("127.0.0.1", 0), _Handler)
        self._http.serving = self
        self.rest_address = f"127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._answer.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()
        self._grpc.stop(None).wait()

    def servable(self, name, version=None, label=None):
        """The number and the Servable of a version; the newest if neither version nor label is given."""
        versions = self.models.get(name, {})
        if label is not None:
            if label not in self.labels:
                raise Refusal(Code.INVALID_ARGUMENT, f"Unrecognized servable version label: {label}")
            version = self.labels[label]
        if version is None and versions:
            version = max(versions)
        if version not in versions:
            wanted = f"Latest({name})" if version is None else f"Specific({name}, {version})"
            raise Refusal(Code.NOT_FOUND, f"Servable not found for request: {wanted}")
        return version, versions[version]

    def predict(self, servable, signature, inputs):
        with self._lock:
            self.tries += 1
            refused = self._failures > 0
            self._failures -= refused
            self._running += not refused
        if refused:
            raise Refusal(Code.UNAVAILABLE, "The batch scheduling queue to which this task was submitted is full")
        try:
            self._answer.wait()
            outputs = servable.run(signature, inputs)
            self.batches.append(len(next(iter(inputs.values()))))
            return outputs
        finally:
            with self._idle:
                self._running -= 1
                self._idle.notify_all()

    def settle(self):
        """Answer what is held, and wait until no request runs any more."""
        self._answer.set()
        with self._idle:
            assert self._idle.wait_for(lambda: self._running == 0, timeout=60)

    def metadata(self, name, version=None, label=None):
        number, servable = self.servable(name, version, label)
        answer = get_model_metadata_pb2.GetModelMetadataResponse()
        answer.model_spec.name, answer.model_spec.version.value = name, number
        signatures = get_model_metadata_pb2.SignatureDefMap()
        for key, value in servable.signature_defs.items():
            signatures.signature_def[key].CopyFrom(value)
        answer.metadata["signature_def"].Pack(signatures)
        return answer


class _PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, serving):
        self.serving = serving

    def _servable(self, spec):
        version = spec.version.value if spec.HasField("version") else None
        return self.serving.servable(spec.name, version, spec.version_label or None)

    def Predict(self, request, context):  # noqa: N802  the names are the service's
        try:
            number, servable = self._servable(request.model_spec)
            signature = request.model_spec.signature_name or "serving_default"
            if signature not in servable.loaded.signatures:
                raise Refusal(Code.FAILED_PRECONDITION, f'Serving signature key "{signature}" not found.')
            inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
            outputs = self.serving.predict(servable, signature, inputs)
        except Refusal as refusal:
            context.abort(refusal.code, refusal.message)
        answer = predict_pb2.PredictResponse()
        answer.model_spec.name, answer.model_spec.signature_name = request.model_spec.name, signature
        answer.model_spec.version.value = number
        for name, value in outputs.items():
            _fill(answer.outputs[name], value)
        return answer

    def GetModelMetadata(self, request, context):  # noqa: N802
        try:
            version = request.model_spec.version.value if request.model_spec.HasField("version") else None
            return self.serving.metadata(request.model_spec.name, version, request.model_spec.version_label or None)
        except Refusal as refusal:
            context.abort(refusal.code, refusal.message)


def _fill(tensor, value):
    """Write an array into a TensorProto the way TensorFlow Serving does: number by number, not as bytes."""
    tensor.dtype = tf.as_dtype(value.dtype).as_datatype_enum
    for size in value.shape:
        tensor.tensor_shape.dim.add(size=size)
    field = {"f": "float_val", "i": "int64_val" if value.dtype == np.int64 else "int_val", "O": "string_val"}
    getattr(tensor, field[value.dtype.kind]).extend(value.ravel().tolist())


class _HTTPServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """Ignore clients that close the connection: the server has not failed."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):  # noqa: N802
        self._reply(self._get)

    def do_POST(self):  # noqa: N802
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._reply(lambda: self._predict(body))

    def _reply(self, make):
        try:
            status, answer = 200, make()
        except Refusal as refusal:
            status, answer = HTTP_STATUS.get(refusal.code, 500), {"error": refusal.message}
        text = json.dumps(answer, indent=4).encode()
        with contextlib.suppress(ConnectionError):
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

    def _match(self, ending):
        match = re.fullmatch(MODEL_PATH + ending, self.path)
        if not match:
            raise Refusal(Code.INVALID_ARGUMENT, f"Malformed request: {self.command} {self.path}")
        name, version, label, *_ = match.groups()
        return name, None if version is None else int(version), label, match

    def _get(self):
        name, version, label, match = self._match("(/metadata)?")
        if match[4]:
            answer = self.server.serving.metadata(name, version, label)
            signatures = get_model_metadata_pb2.SignatureDefMap()
            answer.metadata["signature_def"].Unpack(signatures)
            return {
                "model_spec": json_format.MessageToDict(answer.model_spec, preserving_proto_field_name=True),
                "metadata": {"signature_def": json_format.MessageToDict(signatures, preserving_proto_field_name=True)},
            }
        versions = self.server.serving.models.get(name)
        if not versions:
            raise Refusal(Code.NOT_FOUND, f"Could not find any versions of model {name}")
        if version is not None or label is not None:
            versions = [self.server.serving.servable(name, version, label)[0]]
        fine = {"error_code": "OK", "error_message": ""}
        return {
            "model_version_status": [
                {"version": str(number), "state": "AVAILABLE", "status": fine}
                for number in sorted(versions, reverse=True)
            ]
        }

    def _predict(self, body):
        name, version, label, _ = self._match(":predict")
        _, servable = self.server.serving.servable(name, version, label)
        request = _parse(body)
        signature = request.get("signature_name", "serving_default")
        if signature not in servable.loaded.signatures:
            raise Refusal(Code.INVALID_ARGUMENT, f'Serving signature name: "{signature}" not found in signature def')
        specs = servable.inputs(signature)
        in_rows = "instances" in request
        inputs = _inputs_of_rows(request["instances"], specs) if in_rows else _inputs_of_columns(request, specs)
        outputs = self.server.serving.predict(servable, signature, inputs)
        return _answer_rows(outputs) if in_rows else _answer_columns(outputs)


def _parse(body):
    try:
        request = json.loads(body)
    except ValueError as error:
        raise Refusal(
            Code.INVALID_ARGUMENT, f"JSON Parse error: Invalid value. at offset: {getattr(error, 'pos', 0)}"
        ) from None
    if not isinstance(request, dict):
        raise Refusal(Code.INVALID_ARGUMENT, f"JSON Value: {json.dumps(request)} Is not object")
    if ("instances" in request) == ("inputs" in request):
        problem = (
            "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "
            if "inputs" in request else "Missing 'inputs' or 'instances' key"
        )  # fmt: skip
        raise Refusal(Code.INVALID_ARGUMENT, problem)
    return request


def _is_base64(value):
    return isinstance(value, dict) and set(value) == {"b64"} and isinstance(value["b64"], str)


def _inputs_of_rows(rows, specs):
    """Row format: a list of values if there is one input, otherwise of objects with a value for each input."""
    if not isinstance(rows, list) or not rows:
        raise Refusal(Code.INVALID_ARGUMENT, "No values in 'instances' array")
    if isinstance(rows[0], dict) and not _is_base64(rows[0]):
        for number, row in enumerate(rows):
            if set(row) != set(specs):
                raise Refusal(
                    Code.INVALID_ARGUMENT,
                    f"Failed to process element: {number} of 'instances' list. JSON object: {json.dumps(row)} "
                    f"keys must be equal to: {','.join(specs)}",
                )
        return {name: _array([row[name] for row in rows], spec) for name, spec in specs.items()}
    if len(specs) > 1:
        raise Refusal(
            Code.INVALID_ARGUMENT,
            "instances is a plain list, but expecting list of objects as multiple input tensors required "
            "as per tensorinfo_map",
        )
    ((name, spec),) = specs.items()
    return {name: _array(rows, spec)}


def _inputs_of_columns(request, specs):
    """Column format: the one input's value, or an object with each input's value."""
    columns = request["inputs"]
    if not isinstance(columns, dict) or _is_base64(columns):
        columns = {next(iter(specs)): columns}
    for name in specs:
        if name not in columns:
            raise Refusal(Code.INVALID_ARGUMENT, f"Missing named input: {name} in 'inputs' object.")
    return {name: _array(columns[name], spec) for name, spec in specs.items()}


def _array(value, spec):
    """JSON in nested lists -> an array of the input's type; {"b64": ...} stands for bytes."""

    def decode(value):
        if isinstance(value, list):
            return [decode(item) for item in value]
        if spec.dtype == tf.string:
            if _is_base64(value):
                try:
                    return base64.b64decode(value["b64"], validate=True)
                except binascii.Error:
                    raise Refusal(Code.INVALID_ARGUMENT, "Unable to base64 decode") from None
            if isinstance(value, str):
                return value.encode()
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            return value
        kind = {dict: "Object", str: "String", type(None): "Null"}.get(type(value), "Number")
        raise Refusal(
            Code.INVALID_ARGUMENT,
            f"JSON Value: {json.dumps(value)} Type: {kind} is not of expected type: {spec.dtype.name}",
        )

    try:
        return np.array(decode(value), spec.dtype.as_numpy_dtype)
    except ValueError as error:  # lists of unequal length
        raise Refusal(Code.INVALID_ARGUMENT, f"Encountered list at unexpected size: {error}") from None


def _json_value(name, value):
    """An output as JSON: bytes are base64 if its name ends in _bytes, and text otherwise."""
    if isinstance(value, list):
        return [_json_value(name, item) for item in value]
    if not isinstance(value, bytes):
        return value
    return {"b64": base64.b64encode(value).decode()} if name.endswith("_bytes") else value.decode("utf-8", "replace")


def _json_array(name, array):
    if array.dtype == np.float32:
        array = np.array([float(str(value)) for value in array.ravel()]).reshape(array.shape)
    return _json_value(name, array.tolist())


def _answer_columns(outputs):
    columns = {name: _json_array(name, array) for name, array in sorted(outputs.items())}
    return {"outputs": next(iter(columns.values())) if len(columns) == 1 else columns}


def _answer_rows(outputs):
    columns = {name: _json_array(name, array) for name, array in sorted(outputs.items())}
    if len(columns) == 1:
        return {"predictions": next(iter(columns.values()))}
    return {"predictions": [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]}
