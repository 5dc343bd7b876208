"""Ask a TensorFlow Serving container for the detections of pictures.

    python -m export.client --server localhost:8501 --model detector --labels labels.json photo.jpg more/*.png

sends the files as they are to the signature `image_bytes`, writes photo.detections.png with labelled boxes beside each
picture (or into --out) and prints one JSON line a picture, as `python -m keras_frcnn.detect` does: boxes are
[ymin, xmin, ymax, xmax] in pixels of that picture, continuous corners.

Exit status: 0, all pictures have their detections; 1, the server failed, or could not read a picture; 2, bad input.

This file imports nothing of this project and can be copied away.  REST needs Pillow and nothing else.  gRPC needs
grpcio and tensorflow-serving-api too, whose messages import TensorFlow: some seconds at the start.
"""

import argparse
import json
import math
import os
import random
import re
import sys
import time
from typing import NamedTuple

SIGNATURE = "image_bytes"  # its input has the same name
OUTPUTS = ("detection_boxes", "detection_classes", "detection_scores", "num_detections", "image_errors")
# Waiting before a request is sent again doubles from the first to the longest; up to half of it is left to chance, so
# that clients of a server that was away do not all come back at once.
FIRST_WAIT, LONGEST_WAIT = 0.1, 5.0


class InputError(ValueError):
    """Something given by the user is wrong: one line that names the place, what is wrong with it and the mend."""


class ServerError(RuntimeError):
    """The server cannot be reached, or does not answer with detections: one line that says which and what to check."""


class Unavailable(ServerError):
    """A server that may answer later: it is starting, overloaded or not there yet."""


class Found(NamedTuple):
    """What the model found in one picture, D detections, best first."""

    boxes: list  # (D, 4) yxyx, 0-1 of the picture
    classes: list  # (D,) 1-based
    scores: list  # (D,) 0-1
    error: str  # why the picture has no detections; empty where it could be read


def detect(pictures, *, server, model, version=None, protocol="rest", timeout=30.0):
    """The detections of pictures, in one request: a `Found` for each, in order.

    `pictures` are the bytes of JPEG or PNG files; their sizes may differ.  `server` is "HOST:PORT" (the
    container's 8501 for "rest", 8500 for "grpc").  `version` is a number, a label of the server's configuration such as
    "stable", or None for the newest.  `timeout` seconds are for all of it: a server that is away or overloaded
    (connection refused, UNAVAILABLE, 503, 429) is asked again within them, any other error is final.

    Raises ServerError.  A picture that the server cannot read raises nothing: its `Found.error` says why.
    """
    if not pictures:
        return []
    prepare = {"rest": _prepare_rest, "grpc": _prepare_grpc}[protocol]
    rows = _ask_in_time(prepare(server, model, version, pictures), timeout)
    try:
        found = [_to_found(row) for row in rows]
    except (KeyError, TypeError, ValueError) as error:
        raise ServerError(
            f"the answer of {server} holds no detections ({type(error).__name__}: {error}); "
            "serve a model that export.saved_model wrote"
        ) from None
    if len(found) != len(pictures):
        raise ServerError(f"{server} answered {len(found)} of {len(pictures)} pictures; is it TensorFlow Serving?")
    return found


def _to_found(row):
    """The outputs of one picture by name, rows of padding included -> `Found`."""
    boxes, classes, scores, count, error = (row[name] for name in OUTPUTS)
    count = int(count)
    if not len(boxes) == len(classes) == len(scores) >= count >= 0:
        raise ValueError(f"{count} detections in rows of {len(boxes)}, {len(classes)} and {len(scores)}")
    return Found(boxes[:count], [int(class_index) for class_index in classes[:count]], scores[:count], error)


def _ask_in_time(ask, timeout, *, clock=time.monotonic, sleep=time.sleep, chance=random.random):
    """What `ask(seconds left)` gives, asked again while it raises Unavailable and there is time to wait."""
    deadline, wait, tries, unavailable = clock() + timeout, FIRST_WAIT, 0, None
    while True:
        tries += 1
        try:
            return ask(deadline - clock())
        except TimeoutError:
            if unavailable is not None:
                break  # the error of the try before says more
            raise ServerError(
                f"no answer within {timeout:g} s; allow more with --timeout, or send fewer pictures with --batch"
            ) from None
        except Unavailable as error:
            unavailable = error
        pause = wait * (0.5 + chance() / 2)
        if clock() + pause >= deadline:
            break
        sleep(pause)
        wait = min(2 * wait, LONGEST_WAIT)
    often = "once" if tries == 1 else f"{tries} times"
    raise ServerError(f"{unavailable} (asked {often} within {timeout:g} s)")


def _refusal(code, reason, server, model, version):
    """The error for an answer other than detections; `code` is gRPC's name of it, `reason` the server's words."""
    reason = " ".join(str(reason).split())
    if code == "UNAVAILABLE":
        return Unavailable(f"{server} does not serve now ({reason}); is it up, and is this the port of that protocol?")
    if "Serving signature" in reason:
        return ServerError(f"model {model} has no signature {SIGNATURE} ({reason}); serve one of export.saved_model")
    if code == "NOT_FOUND" or "version label" in reason:
        wanted = model if version is None else f"{model}, version {version},"
        return ServerError(f"model {wanted} is not served at {server} ({reason}); check --model and --version, and the "
                           "server's models.config and version folders")  # fmt: skip
    if code == "RESOURCE_EXHAUSTED":
        return ServerError(f"the request is too large for {server} ({reason}); send fewer pictures with --batch")
    return ServerError(f"{server} refused the request: {code} ({reason})")


# REST.


def _prepare_rest(server, model, version, pictures):
    """A function of the seconds left that gives the outputs of each picture, asked over HTTP.

    Rows ("instances"), as all inputs and outputs have one row a picture; the one input needs no name.  Base64 makes a
    request a third longer than over gRPC.
    """
    import base64
    from urllib.parse import quote

    body = json.dumps({
        "signature_name": SIGNATURE,
        "instances": [{"b64": base64.b64encode(picture).decode("ascii")} for picture in pictures],
    })  # fmt: skip
    part = "" if version is None else f"/{'versions' if isinstance(version, int) else 'labels'}/{version}"
    path = f"/v1/models/{quote(model, safe='')}{part}:predict"

    def ask(seconds):
        status, text = _post(server, path, body, seconds)
        try:
            answer = json.loads(text)
            if status == 200:
                return answer["predictions"]
            reason = answer["error"]
        except (ValueError, KeyError, TypeError):
            if status not in (429, 503):  # a proxy in front of the server says these in words of its own
                raise ServerError(
                    f"{server} does not answer as TensorFlow Serving does (status {status}, {text[:80]!r}); "
                    "is this its REST port (8501)?"
                ) from None
            reason = f"status {status}"
        code = {400: "INVALID_ARGUMENT", 404: "NOT_FOUND", 429: "UNAVAILABLE", 503: "UNAVAILABLE"}
        raise _refusal(code.get(status, f"status {status}"), reason, server, model, version)

    return ask


def _post(server, path, body, seconds):
    """Status and text of the answer, all within `seconds`: TimeoutError, Unavailable or ServerError else."""
    import contextlib
    import http.client
    import socket
    import threading

    deadline = time.monotonic() + seconds
    connection = http.client.HTTPConnection(server, timeout=max(seconds, 1e-3))
    try:
        connection.connect()
        peer = connection.sock

        def hang_up():
            with contextlib.suppress(OSError):  # closed already
                peer.shutdown(socket.SHUT_RDWR)

        # The socket's own timeout begins anew with each byte; this one is for all of them.
        alarm = threading.Timer(deadline - time.monotonic(), hang_up)
        alarm.daemon = True
        alarm.start()
        try:
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, response.read().decode("utf-8", "replace")
        finally:
            alarm.cancel()
    except socket.gaierror as error:
        raise ServerError(f"{server}: unknown host ({error}); check --server") from None
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, TimeoutError) or time.monotonic() >= deadline:
            raise TimeoutError from None
        if isinstance(error, http.client.HTTPException) and not isinstance(
            error, (http.client.RemoteDisconnected, http.client.IncompleteRead)
        ):
            raise ServerError(f"{server} does not speak HTTP ({error!r:.80}); is this its REST port (8501)?") from None
        raise _refusal("UNAVAILABLE", error, server, None, None) from None
    finally:
        connection.close()


# gRPC.


def _prepare_grpc(server, model, version, pictures):
    """As `_prepare_rest`, over gRPC's PredictionService."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # the messages below import TensorFlow
    import grpc
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = SIGNATURE
    if isinstance(version, int):
        request.model_spec.version.value = version
    elif version is not None:
        request.model_spec.version_label = version
    tensor = request.inputs[SIGNATURE]
    tensor.dtype = 7  # DT_STRING
    tensor.tensor_shape.dim.add(size=len(pictures))
    tensor.string_val.extend(pictures)
    options = [
        # No limit of our own (answers were limited to 4 MB): the server takes up to 2 GiB.
        ("grpc.max_send_message_length", -1),
        ("grpc.max_receive_message_length", -1),
        # A connection of its own for each try: a shared one would not be tried again before a second has passed.
        ("grpc.use_local_subchannel_pool", 1),
    ]

    def ask(seconds):
        try:
            with grpc.insecure_channel(server, options) as channel:
                stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
                answer = stub.Predict(request, timeout=max(seconds, 0.0))
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise TimeoutError from None
            raise _refusal(error.code().name, error.details(), server, model, version) from None
        try:
            columns = {name: _values(answer.outputs[name]) for name in OUTPUTS if name in answer.outputs}
            return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        except (TypeError, ValueError) as error:
            raise ServerError(f"{server} answered tensors that are not whole ({error})") from None

    return ask


def _values(tensor):
    """A TensorProto of float32 or strings as nested lists.  Raises ValueError or TypeError for anything else."""
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    if tensor.dtype == 1:  # DT_FLOAT, as bytes or as numbers
        flat = list(memoryview(tensor.tensor_content).cast("f") if tensor.tensor_content else tensor.float_val)
    elif tensor.dtype == 7:
        flat = [value.decode("utf-8", "replace") for value in tensor.string_val]
    else:
        raise ValueError(f"type {tensor.dtype} is neither float32 nor string")
    if len(flat) != math.prod(shape):
        raise ValueError(f"{len(flat)} values for the shape {shape}")

    def nest(flat, shape):
        if len(shape) < 2:
            return flat
        step = math.prod(shape[1:])
        return [nest(flat[row * step : (row + 1) * step], shape[1:]) for row in range(shape[0])]

    return nest(flat, shape)


# The command line.


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(
        prog="python -m export.client",
        description="Detections of pictures from TensorFlow Serving: a drawn picture and a JSON line each.",
        epilog="gRPC needs tensorflow-serving-api, which imports TensorFlow; REST needs Pillow only.",
    )
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="JPEG or PNG files")
    parser.add_argument("--server", required=True, type=_address, metavar="HOST:PORT",
                        help="where TensorFlow Serving listens: its port 8501 for rest, 8500 for grpc")  # fmt: skip
    parser.add_argument("--model", required=True, metavar="NAME", help="the model's name on the server")
    parser.add_argument("--version", type=_version, metavar="N", help="a version number, or a label such as stable "
                        "(default: the newest)")  # fmt: skip
    parser.add_argument("--protocol", choices=("rest", "grpc"), default="rest", help="(default: rest)")
    parser.add_argument("--out", help="folder for the drawn pictures (default: beside each picture)")
    parser.add_argument("--score", type=float, default=0.5, help="show detections from this score on (default: 0.5)")
    parser.add_argument("--labels", help="labels.json, as it lies in the export's assets (default: class numbers)")
    parser.add_argument("--timeout", type=_seconds, default=30.0, metavar="SECONDS",
                        help="for each request, with all its tries (default: 30)")  # fmt: skip
    parser.add_argument("--batch", type=_count, default=4, metavar="N",
                        help="pictures a request; not over max_batch_size of the server (default: 4)")  # fmt: skip
    return parser.parse_args(arguments)


def _address(text):
    if not re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^\s/:\[\]]+):\d{1,5}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT; write it without http:// and path")
    return text


def _version(text):
    if text.isascii() and text.isdigit():
        return int(text)
    if not re.fullmatch(r"[\w.-]+", text):
        raise argparse.ArgumentTypeError(f"{text!r} is neither a version number nor a label")
    return text


def _seconds(text):
    seconds = float(text)
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not over 0")
    return seconds


def _count(text):
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"{text} is under 1")
    return count


def read_labels(path):
    """{1: name, ...} of a labels.json, whose keys are the numbers as text."""
    try:
        with open(path, encoding="utf-8") as file:
            labels = {int(number): name for number, name in json.load(file).items()}
        if not all(isinstance(name, str) for name in labels.values()):
            raise ValueError("a name is no text")
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f'{path}: not a label map ({error}); give a JSON file such as {{"1": "cat"}}') from None
    return labels


def output_path(image_path, out):
    """Where the drawn picture goes: NAME.detections.png, beside the picture or in the folder `out`."""
    folder, name = os.path.split(image_path)
    return os.path.join(folder if out is None else out, f"{os.path.splitext(name)[0]}.detections.png")


def read_pixels(picture, path):
    """The RGB picture in encoded bytes, its pixels as stored: the EXIF orientation is ignored, as in training."""
    import io

    from PIL import Image

    try:
        image = Image.open(io.BytesIO(picture))
        if image.mode.startswith("I"):  # 16 bits a pixel
            image = image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
        return image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: Pillow cannot read it, to draw on it ({error}); save it as JPEG or PNG") from None


def draw(image, boxes, classes, scores, names):
    """A copy of the picture with each detection's box, name and score; boxes (D, 4) in its pixels, the best on top."""
    import colorsys

    from PIL import ImageDraw, ImageFont

    drawn = image.copy()
    canvas = ImageDraw.Draw(drawn)
    line = max(2, round(min(image.size) / 270))
    font = ImageFont.load_default(max(11, round(min(image.size) / 34)))
    for box, class_index, score, name in list(zip(boxes, classes, scores, names, strict=True))[::-1]:
        # Hues that the golden ratio spreads out: neighbouring classes differ.
        colour = tuple(round(255 * part) for part in colorsys.hsv_to_rgb(class_index * 0.618034 % 1.0, 0.8, 1.0))
        ymin, xmin, ymax, xmax = box
        canvas.rectangle((xmin, ymin, max(xmax, xmin), max(ymax, ymin)), outline=colour, width=line)
        text = f"{name} {score:.2f}"
        left, top, right, bottom = canvas.textbbox((0, 0), text, font=font)
        x = max(0, min(xmin, image.width - right))
        y = ymin - bottom - 1 if ymin > bottom else ymin  # above the box, or within it at the picture's edge
        canvas.rectangle((x + left - 1, y + top - 1, x + right + 1, y + bottom + 1), fill=colour)
        canvas.text((x, y), text, fill="black", font=font)
    return drawn


def report(path, target, picture, found, score, labels):
    """Draw the detections of one picture from `score` on, and give the fields of its JSON line."""
    image = read_pixels(picture, path)
    sizes = (image.height, image.width) * 2
    shown = [i for i, value in enumerate(found.scores) if value >= score]
    boxes = [[share * size for share, size in zip(found.boxes[i], sizes, strict=True)] for i in shown]
    classes, scores = [found.classes[i] for i in shown], [found.scores[i] for i in shown]
    if labels is not None and (unknown := set(classes) - set(labels)):
        raise InputError(f"--labels has no name for class {min(unknown)}; give the labels.json of the served model")
    names = classes if labels is None else [labels[class_index] for class_index in classes]
    try:
        os.makedirs(os.path.dirname(target) or ".", exist_ok=True)
        draw(image, boxes, classes, scores, names).save(target)
    except OSError as error:
        raise InputError(f"{target}: cannot be written ({error}); give a writable folder with --out") from None
    detections = [
        {"class": name, "score": round(value, 4), "box": [round(corner, 2) for corner in box]}
        for box, value, name in zip(boxes, scores, names, strict=True)
    ]
    return {"image": path, "height": image.height, "width": image.width, "detections": detections, "picture": target}


def _read_pictures(paths):
    pictures = []
    for path in paths:
        try:
            with open(path, "rb") as file:
                pictures.append(file.read())
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error}); give a readable picture") from None
    return pictures


def _run(options):
    """Do what the options say; the number of pictures without detections."""
    targets = [output_path(path, options.out) for path in options.images]
    for path, target in zip(options.images, targets, strict=True):
        if targets.count(target) > 1:
            raise InputError(f"{target}: two pictures would be written here; give them in two calls, with other --out")
        if not os.path.isfile(path):
            raise InputError(f"{path}: no such file; give the path of a picture")
    labels = None if options.labels is None else read_labels(options.labels)
    failed = 0
    for start in range(0, len(targets), options.batch):
        paths = options.images[start : start + options.batch]
        pictures = _read_pictures(paths)
        all_found = detect(
            pictures, server=options.server, model=options.model, version=options.version,
            protocol=options.protocol, timeout=options.timeout,
        )  # fmt: skip
        of_batch = zip(paths, targets[start : start + options.batch], pictures, all_found, strict=True)
        for path, target, picture, found in of_batch:
            if found.error:
                failed += 1
                print(f"error: {path}: the server cannot read it ({found.error})", file=sys.stderr)
            else:
                fields = report(path, target, picture, found, options.score, labels)
                print(json.dumps(fields), flush=True)
    return failed


def main(arguments=None):
    options = parse_arguments(arguments)
    try:
        failed = _run(options)
    except ModuleNotFoundError as error:
        install = "pip install 'keras-frcnn[export]', or pillow, grpcio and tensorflow-serving-api alone"
        print(f"error: {error.name} is not installed; this command needs more packages: {install}", file=sys.stderr)
        raise SystemExit(2) from None
    except (InputError, ServerError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2 if isinstance(error, InputError) else 1) from None
    if failed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
