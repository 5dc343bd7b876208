"""Ask a TensorFlow Serving container for the detections in pictures.

    python -m export.client --server localhost:8501 --model detector --labels labels.json photo.jpg more/*.png

This sends the files unchanged to the signature `image_bytes`.  For each picture it writes photo.detections.png with
labelled boxes beside the picture (or into --out) and prints one JSON line, as `python -m keras_frcnn.detect` does.
Boxes are [ymin, xmin, ymax, xmax] in pixels of that picture, continuous corners.  If the model applies the EXIF
orientation, the server says how it turned each picture, and the client turns it in the same way.

Exit status: 0 if all pictures have their detections, 1 if the server failed or could not read a picture, 2 for bad
input.

This file imports nothing of this project and can be copied elsewhere.  REST needs only Pillow.  gRPC also needs grpcio
and tensorflow-serving-api, whose messages import TensorFlow: the start takes some seconds.
"""

import argparse
import base64
import colorsys
import contextlib
import http.client
import io
import json
import math
import os
import random
import re
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

if TYPE_CHECKING:
    from PIL import Image

SIGNATURE = "image_bytes"  # its input has the same name
OUTPUTS = ("detection_boxes", "detection_classes", "detection_scores", "num_detections", "image_errors")
ORIENTATIONS = "image_orientations"  # an output that exports of older versions lack: these turn no pictures
MOST_CLASSES, MOST_ROWS, MOST_AXES = 10**6, 10**6, 3  # an answer with more cannot be right
# The members of PIL.Image.Transpose that apply the EXIF orientations.
TURNS = {
    2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_270", 7: "TRANSVERSE",
    8: "ROTATE_90",
}  # fmt: skip
# Seconds before a request is sent again.  The wait doubles from the first to the longest.  Up to half of it is random,
# so that the clients of a server that was away do not all return at once.
FIRST_WAIT, LONGEST_WAIT = 0.1, 5.0
LONGEST_TIMEOUT = 86400  # seconds; a timer of Python overflows with far more

Row = Mapping[str, Any]  # the outputs for one picture by name, as nested lists, with rows of padding
Ask = Callable[[float], Sequence[Row]]  # seconds left -> the outputs for each picture


class InputError(ValueError):
    """Something that the user passed is wrong.  The line says where, what is wrong and how to fix it."""


class ServerError(RuntimeError):
    """The server cannot be reached, or does not answer with detections.  The line says which and what to check."""


class Unavailable(ServerError):
    """The server may answer later: it is starting or overloaded, or does not run yet."""


class Found(NamedTuple):
    """What the model found in one picture: D detections, best first."""

    boxes: list[list[float]]  # (D, 4) yxyx, from 0 to 1 of the sides of the picture, turned by `orientation`
    classes: list[int]  # (D,) from 1
    scores: list[float]  # (D,) from 0 to 1
    error: str  # why the picture has no detections; empty for a readable picture
    orientation: int = 1  # the EXIF orientation that the model applied to the picture; 1: it is as stored


def detect(
    pictures: Sequence[bytes],
    *,
    server: str,
    model: str,
    version: int | str | None = None,
    protocol: str = "rest",
    timeout: float = 30.0,
) -> list[Found]:
    """Find the objects in pictures, with one request.

    Args:
      pictures: the bytes of JPEG or PNG files.  Their sizes may differ.
      server: "HOST:PORT"; the container's port is 8501 for "rest" and 8500 for "grpc".
      model: its name on the server.
      version: a number, a label of the server's configuration such as "stable", or None for the newest version.
      protocol: "rest" or "grpc".
      timeout: seconds for everything.  Within them, an unavailable or overloaded server (connection refused,
        UNAVAILABLE, 503, 429) is asked again.  Any other error is final.

    Returns a `Found` for each picture, in order.  If the server cannot read a picture, its `Found.error` says why.

    Raises ServerError.
    """
    if not pictures:
        return []
    prepare = {"rest": _prepare_rest, "grpc": _prepare_grpc}[protocol]
    rows = _ask_in_time(prepare(server, model, version, pictures), timeout)
    try:
        found = [_to_found(row) for row in rows]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ServerError(
            f"the answer of {server} holds no detections ({type(error).__name__}: {error}); "
            "serve a model that export.saved_model wrote"
        ) from None
    if len(found) != len(pictures):
        raise ServerError(f"{server} answered {len(found)} of {len(pictures)} pictures; is it TensorFlow Serving?")
    return found


def _to_found(row: Row) -> Found:
    """Drop the padding.  Raises KeyError, TypeError or ValueError if the outputs are not those of a detector."""
    boxes, classes, scores, count, error = (row[name] for name in OUTPUTS)
    count = int(count)
    if not len(boxes) == len(classes) == len(scores) >= count >= 0:
        raise ValueError(f"{count} detections in rows of {len(boxes)}, {len(classes)} and {len(scores)}")
    orientation = int(row.get(ORIENTATIONS, 1))
    if not 1 <= orientation <= 8:
        raise ValueError(f"{ORIENTATIONS} holds {orientation}, which is no EXIF orientation")
    if not isinstance(error, str):
        raise ValueError(f"{OUTPUTS[-1]} holds {error!r:.80}, which is not text")
    boxes = [[_number(corner, 0.0, 1.0) for corner in box] for box in boxes[:count]]
    if any(len(box) != 4 for box in boxes):
        raise ValueError("a box does not have four corners")
    classes = [round(_number(class_index, 1, MOST_CLASSES)) for class_index in classes[:count]]
    return Found(boxes, classes, [_number(score, 0.0, 1.0) for score in scores[:count]], error, orientation)


def _number(value: Any, least: float, most: float) -> float:
    """A number from `least` to `most`.  Raises TypeError or ValueError for another value."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r:.80} is not a number")
    if not least - 1e-3 <= value <= most + 1e-3:  # false for NaN
        raise ValueError(f"{value!r:.80} is not from {least:g} to {most:g}")
    return value


def _ask_in_time(
    ask: Ask,
    timeout: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    chance: Callable[[], float] = random.random,
) -> Sequence[Row]:
    """Call `ask(seconds left)` again while it raises Unavailable and there is time to wait.  Raises ServerError."""
    deadline, wait, tries, unavailable = clock() + timeout, FIRST_WAIT, 0, None
    while True:
        tries += 1
        try:
            return ask(deadline - clock())
        except TimeoutError:
            if unavailable is not None:
                break  # the error of the previous try says more
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


def _refusal(code: str, reason: object, server: str, model: str | None, version: int | str | None) -> ServerError:
    """The error for an answer other than detections; `code` is gRPC's name of it, `reason` the server's words."""
    reason = " ".join(str(reason).split())
    if code == "UNAVAILABLE":
        return Unavailable(
            f"{server} is unavailable ({reason}); check that it is running, and that this is the port of that protocol"
        )
    if "Serving signature" in reason:
        return ServerError(
            f"model {model} has no signature {SIGNATURE} ({reason}); serve a model that export.saved_model wrote"
        )
    if code == "NOT_FOUND" or "version label" in reason:
        wanted = model if version is None else f"{model}, version {version},"
        return ServerError(
            f"model {wanted} is not served at {server} ({reason}); check --model and --version, and the server's "
            "models.config and version folders"
        )
    if code == "RESOURCE_EXHAUSTED":
        return ServerError(f"the request is too large for {server} ({reason}); send fewer pictures with --batch")
    return ServerError(f"{server} refused the request: {code} ({reason})")


# REST.


def _prepare_rest(server: str, model: str, version: int | str | None, pictures: Sequence[bytes]) -> Ask:
    """A function that asks over HTTP.

    The request has one row ("instances") for each picture, like the answer.  A single input needs no name.  Base64
    makes the request a third longer than over gRPC.
    """
    body = json.dumps({
        "signature_name": SIGNATURE,
        "instances": [{"b64": base64.b64encode(picture).decode("ascii")} for picture in pictures],
    })  # fmt: skip
    part = "" if version is None else f"/{'versions' if isinstance(version, int) else 'labels'}/{version}"
    path = f"/v1/models/{quote(model, safe='')}{part}:predict"

    def ask(seconds: float) -> Sequence[Row]:
        status, text = _post(server, path, body, seconds)
        try:
            answer = json.loads(text)
            if status == 200:
                return answer["predictions"]
            reason = answer["error"]
        except (ValueError, KeyError, TypeError, RecursionError):
            if status not in (429, 503):  # a proxy in front of the server answers these in its own words
                raise ServerError(
                    f"{server} does not answer as TensorFlow Serving does (status {status}, {text[:80]!r}); "
                    "is this its REST port (8501)?"
                ) from None
            reason = f"status {status}"
        code = {400: "INVALID_ARGUMENT", 404: "NOT_FOUND", 429: "UNAVAILABLE", 503: "UNAVAILABLE"}
        raise _refusal(code.get(status, f"status {status}"), reason, server, model, version)

    return ask


def _post(server: str, path: str, body: str, seconds: float) -> tuple[int, str]:
    """Send a request and return status and text of the answer.

    Raises TimeoutError after `seconds`, and Unavailable or ServerError if the connection fails.
    """
    deadline = time.monotonic() + seconds
    connection = http.client.HTTPConnection(server, timeout=max(seconds, 1e-3))
    try:
        connection.connect()
        peer = connection.sock

        def hang_up() -> None:
            with contextlib.suppress(OSError):  # the socket may be closed already
                peer.shutdown(socket.SHUT_RDWR)

        # The socket's own timeout starts again with each byte.  This one limits the whole answer.
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


def _prepare_grpc(server: str, model: str, version: int | str | None, pictures: Sequence[bytes]) -> Ask:
    """A function that asks over gRPC's PredictionService."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow reads it when the messages below import it
    # Imported here because REST works without these packages.
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
        # No limit in the client: gRPC's default for answers is 4 MB, and the server accepts up to 2 GiB.
        ("grpc.max_send_message_length", -1),
        ("grpc.max_receive_message_length", -1),
        # A new connection for each try: gRPC would wait a second before it retries a shared one.
        ("grpc.use_local_subchannel_pool", 1),
    ]

    def ask(seconds: float) -> Sequence[Row]:
        try:
            with grpc.insecure_channel(server, options) as channel:
                stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
                answer = stub.Predict(request, timeout=max(seconds, 0.0))
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise TimeoutError from None
            raise _refusal(error.code().name, error.details(), server, model, version) from None
        try:
            names = [name for name in (*OUTPUTS, ORIENTATIONS) if name in answer.outputs]
            columns = {name: _values(answer.outputs[name]) for name in names}
            return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        except (TypeError, ValueError) as error:
            raise ServerError(f"{server} answered with incomplete tensors ({error})") from None

    return ask


def _values(tensor: Any) -> list[Any]:
    """A TensorProto of float32 or strings as nested lists.  Raises ValueError or TypeError for anything else."""
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    if tensor.dtype == 1:  # DT_FLOAT, stored as bytes or as numbers
        flat = list(memoryview(tensor.tensor_content).cast("f") if tensor.tensor_content else tensor.float_val)
    elif tensor.dtype == 7:
        flat = [value.decode("utf-8", "replace") for value in tensor.string_val]
    else:
        raise ValueError(f"type {tensor.dtype} is neither float32 nor string")
    if len(flat) != math.prod(shape) or len(shape) > MOST_AXES or not all(0 <= size <= MOST_ROWS for size in shape):
        raise ValueError(f"{len(flat)} values for the shape {shape}"[:200])

    def nest(flat: list[Any], shape: list[int]) -> list[Any]:
        if len(shape) < 2:
            return flat
        length = math.prod(shape[1:])
        return [nest(flat[row * length : (row + 1) * length], shape[1:]) for row in range(shape[0])]

    return nest(flat, shape)


# The command line.


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the options; `None` takes those of the process."""
    parser = argparse.ArgumentParser(
        prog="python -m export.client",
        description="Detections in pictures from TensorFlow Serving: a drawn picture and a JSON line each.",
        epilog="gRPC needs tensorflow-serving-api, which imports TensorFlow.  REST needs only Pillow.",
    )
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="JPEG or PNG files")
    parser.add_argument("--server", required=True, type=_address, metavar="HOST:PORT",
                        help="where TensorFlow Serving listens: port 8501 for rest, 8500 for grpc")  # fmt: skip
    parser.add_argument("--model", required=True, metavar="NAME", help="the model's name on the server")
    parser.add_argument("--version", type=_version, metavar="N", help="a version number, or a label such as stable "
                        "(default: the newest)")  # fmt: skip
    parser.add_argument("--protocol", choices=("rest", "grpc"), default="rest", help="(default: rest)")
    parser.add_argument("--out", help="folder for the drawn pictures (default: beside each picture)")
    parser.add_argument("--score", type=_score, default=0.5, help="show detections from this score on (default: 0.5)")
    parser.add_argument("--labels", help="labels.json from the assets of the export (default: show class numbers)")
    parser.add_argument("--timeout", type=_seconds, default=30.0, metavar="SECONDS",
                        help="for each request, with all its tries (default: 30)")  # fmt: skip
    parser.add_argument("--batch", type=_count, default=4, metavar="N",
                        help="pictures in a request; at most the server's max_batch_size (default: 4)")  # fmt: skip
    return parser.parse_args(arguments)


def _address(text: str) -> str:
    if not re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^\s/:\[\]]+):\d{1,5}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT; write it without http:// and path")
    return text


def _version(text: str) -> int | str:
    if text.isascii() and text.isdigit():
        return int(text)
    if not re.fullmatch(r"[\w.-]+", text):
        raise argparse.ArgumentTypeError(f"{text!r} is neither a version number nor a label")
    return text


def _number_in(text: str) -> float:
    """The number that an option states; NaN, which no range holds, for anything else."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _seconds(text: str) -> float:
    seconds = _number_in(text)
    if not 0 < seconds <= LONGEST_TIMEOUT:
        rule = f"must be a number of seconds greater than 0 and at most {LONGEST_TIMEOUT}"
        raise argparse.ArgumentTypeError(f"{rule} (got {text})")
    return seconds


def _score(text: str) -> float:
    score = _number_in(text)
    if not 0 <= score <= 1:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 1 (got {text})")
    return score


def _count(text: str) -> int:
    try:
        count = int(text)
    except ValueError:
        count = 0
    if count < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1 (got {text})")
    return count


def read_labels(path: str) -> dict[int, str]:
    """The class names by number of a labels.json, whose keys are the numbers as text.  Raises InputError."""
    if not os.path.isfile(path):  # a pipe may never end
        raise InputError(f"{path}: no such file; give the labels.json of the served model")
    try:
        with open(path, encoding="utf-8") as file:
            labels = {int(number): name for number, name in json.load(file).items()}
        if not all(isinstance(name, str) for name in labels.values()):
            raise ValueError("a name is not a string")
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise InputError(f'{path}: not a label map ({error}); give a JSON file such as {{"1": "cat"}}') from None
    return labels


def output_path(image_path: str, out: str | None) -> str:
    """Where the drawn picture goes: NAME.detections.png, beside the picture or in the folder `out`."""
    folder, name = os.path.split(image_path)
    return os.path.join(folder if out is None else out, f"{os.path.splitext(name)[0]}.detections.png")


def read_pixels(picture: bytes, path: str, orientation: int) -> "Image.Image":
    """Decode a picture to RGB, and turn it by an EXIF orientation, `Found.orientation`.

    The orientation in the file does not count: the model decides whether it applies it.  `path` stands in the message
    of the InputError for a picture that Pillow cannot read.
    """
    # Imported here because `detect` and --help need no Pillow.
    from PIL import Image

    try:
        image: Image.Image = Image.open(io.BytesIO(picture))
        if image.mode.startswith("I"):  # 16 bits a pixel
            image = image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
        image = image.convert("RGB")
        return image.transpose(Image.Transpose[TURNS[orientation]]) if orientation in TURNS else image
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: Pillow cannot read it ({error}); save it as JPEG or PNG") from None


def draw(
    image: "Image.Image",
    boxes: Sequence[Sequence[float]],
    classes: Sequence[int],
    scores: Sequence[float],
    names: Sequence[object],
) -> "Image.Image":
    """A copy of the picture with the box, name and score of each detection, the best on top.

    boxes (D, 4) yxyx in pixels of the picture; classes, scores and names (D,), best first.
    """
    from PIL import ImageDraw, ImageFont  # here for the same reason as in `read_pixels`

    drawn = image.copy()
    canvas = ImageDraw.Draw(drawn)
    line = max(2, round(min(image.size) / 270))
    font = ImageFont.load_default(max(11, round(min(image.size) / 34)))
    for box, class_index, score, name in list(zip(boxes, classes, scores, names, strict=True))[::-1]:
        # The golden ratio spreads the hues, so that neighbouring classes differ.
        colour = tuple(round(255 * part) for part in colorsys.hsv_to_rgb(class_index * 0.618034 % 1.0, 0.8, 1.0))
        ymin, xmin, ymax, xmax = box
        canvas.rectangle((xmin, ymin, max(xmax, xmin), max(ymax, ymin)), outline=colour, width=line)
        text = f"{name} {score:.2f}"
        left, top, right, bottom = canvas.textbbox((0, 0), text, font=font)
        x = max(0, min(xmin, image.width - right))
        y = ymin - bottom - 1 if ymin > bottom else ymin  # above the box, or inside it at the picture's upper edge
        canvas.rectangle((x + left - 1, y + top - 1, x + right + 1, y + bottom + 1), fill=colour)
        canvas.text((x, y), text, fill="black", font=font)
    return drawn


def report(
    path: str, target: str, picture: bytes, found: Found, score: float, labels: Mapping[int, str] | None
) -> dict[str, Any]:
    """Draw the detections in one picture that have at least `score` to `target`; returns the fields of its JSON line.

    Raises InputError if Pillow cannot read the picture, if `labels` lacks a class, or if `target` cannot be written.
    """
    image = read_pixels(picture, path, found.orientation)
    sizes = (image.height, image.width) * 2
    shown = [i for i, value in enumerate(found.scores) if value >= score]
    boxes = [[share * size for share, size in zip(found.boxes[i], sizes, strict=True)] for i in shown]
    classes, scores = [found.classes[i] for i in shown], [found.scores[i] for i in shown]
    if labels is not None and (unknown := set(classes) - set(labels)):
        raise InputError(f"--labels has no name for class {min(unknown)}; give the labels.json of the served model")
    names = classes if labels is None else [labels[class_index] for class_index in classes]
    try:
        draw(image, boxes, classes, scores, names).save(target)
    except OSError as error:
        raise InputError(f"{target}: cannot be written ({error}); give a writable folder with --out") from None
    detections = [
        {"class": name, "score": round(value, 4), "box": [round(corner, 2) for corner in box]}
        for box, value, name in zip(boxes, scores, names, strict=True)
    ]
    return {"image": path, "height": image.height, "width": image.width, "detections": detections, "picture": target}


def _read_pictures(paths: Sequence[str]) -> list[bytes]:
    """The bytes of picture files.  Raises InputError."""
    pictures = []
    for path in paths:
        try:
            with open(path, "rb") as file:
                pictures.append(file.read())
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error}); give a readable picture") from None
    return pictures


def _check_paths(images: Sequence[str], targets: Sequence[str]) -> None:
    """Raise InputError for a picture that does not exist, and for two pictures with one output file."""
    for path, target in zip(images, targets, strict=True):
        if targets.count(target) > 1:
            raise InputError(
                f"{target}: two pictures would be written here; run the command twice, with different --out folders"
            )
        if not os.path.isfile(path):
            raise InputError(f"{path}: no such file; give the path of a picture")


def _check_folders(targets: Iterable[str]) -> None:
    """Create the folders of the drawn pictures.  Raises InputError if nothing can be written to one of them."""
    for folder in dict.fromkeys(os.path.dirname(target) or "." for target in targets):
        try:
            os.makedirs(folder, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise InputError(f"{folder}: cannot be written ({error}); give a writable folder with --out") from None


def _run(options: argparse.Namespace) -> int:
    """Detect, draw and print as the options say; returns the number of pictures that the server cannot read."""
    targets = [output_path(path, options.out) for path in options.images]
    _check_paths(options.images, targets)
    labels = None if options.labels is None else read_labels(options.labels)
    _check_folders(targets)
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


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    options = parse_arguments(arguments)
    try:
        failed = _run(options)
    except BrokenPipeError:  # the reader of standard output is gone, as with `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(141) from None
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        raise SystemExit(130) from None
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
