"""The client, against a server on the loopback address that speaks TensorFlow Serving's protocol."""

import http.client
import http.server
import io
import json
import re
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import grpc
import numpy as np
import pytest
from PIL import Image

from export import client

ROOT = Path(__file__).resolve().parents[2]
both_protocols = pytest.mark.parametrize("protocol", ["rest", "grpc"])


def png(height=20, width=30, value=100):
    buffer = io.BytesIO()
    Image.fromarray(np.full((height, width, 3), value, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def first_score(picture):
    return 0.5 + len(picture) % 256 / 1024


def address(server, protocol):
    return {"rest": server.rest_address, "grpc": server.grpc_address}[protocol]


def ask(server, protocol, pictures, model="detector", **options):
    return client.detect(pictures, server=address(server, protocol), model=model, protocol=protocol, **options)


def run(capsys, *arguments):
    """Exit status, lines of standard output and of standard error of the command line called in this process."""
    status = 0
    try:
        client.main([str(argument) for argument in arguments])
    except SystemExit as exit_:
        status = exit_.code
    captured = capsys.readouterr()
    return status, captured.out.splitlines(), captured.err.splitlines()


@pytest.fixture
def pictures(tmp_path):
    """Five PNG files of different sizes."""
    paths = [tmp_path / f"picture{i}.png" for i in range(5)]
    for i, path in enumerate(paths):
        path.write_bytes(png(20 + 10 * i, 60 + 10 * i, value=40 * i))
    return paths


# One request.


@both_protocols
def test_pictures_come_back_in_order_with_what_was_found(serving, protocol):
    sent = [png(20, 30), png(64, 10) + bytes(3), png(300, 200) + bytes(40)]  # what follows a picture is not read
    found = ask(serving, protocol, sent)
    assert serving.batches == [3]  # one request
    for picture, answer in zip(sent, found, strict=True):
        assert answer.error == "" and answer.classes == [2, 1]  # padding is gone
        np.testing.assert_allclose(answer.boxes, [[0.1, 0.2, 0.5, 0.6], [0.25, 0.5, 0.75, 1.0]], atol=1e-7)
        np.testing.assert_allclose(answer.scores, [first_score(picture), 0.25], atol=1e-7)
    assert len({answer.scores[0] for answer in found}) == 3


@both_protocols
def test_a_picture_that_cannot_be_read_does_not_cost_the_others(serving, protocol):
    good, bad, other = ask(serving, protocol, [png(), b"not a picture\xff\x00", png(9, 9)])
    assert bad == client.Found([], [], [], "no PNG")
    assert len(good.boxes) == len(other.boxes) == 2 and good.error == other.error == ""


def test_no_pictures_are_no_request(serving):
    assert ask(serving, "rest", []) == [] and serving.tries == 0


@both_protocols
def test_versions_are_asked_by_number_and_by_label(serving, protocol):
    for version, second_score in ((None, 0.25), (1, 0.125), (2, 0.25), ("stable", 0.125), ("canary", 0.25)):
        (found,) = ask(serving, protocol, [png()], version=version)
        assert found.scores[1] == second_score, version


@both_protocols
def test_a_large_picture_and_a_large_answer_pass(serving_server, write_fake_model, tmp_path, protocol):
    """gRPC's own limit is 4 MB; the answer is larger than that where that limit would be met."""
    rows = {"rest": 3, "grpc": 200_000}[protocol]
    write_fake_model(tmp_path / "1", rows=rows)
    with serving_server.ServingServer({"detector": tmp_path}) as server:
        large = png() + bytes(5_000_000)
        (found,) = ask(server, protocol, [large])
    assert found.scores[0] == pytest.approx(first_score(large))


@both_protocols
def test_wrong_names_are_named(serving, protocol):
    for options, problem in (
        ({"model": "detektor"}, "model detektor is not served at 127.0.0.1:"),
        ({"version": 7}, "model detector, version 7, is not served at 127.0.0.1:"),
        ({"version": "new"}, "model detector, version new, is not served at 127.0.0.1:"),
        ({"model": "other"}, "model other has no signature image_bytes ("),
    ):
        with pytest.raises(client.ServerError, match=re.escape(problem)):
            ask(serving, protocol, [png()], **options)
    assert serving.tries == 0


# Again, and no longer than asked.


@both_protocols
def test_a_busy_server_is_asked_again(serving, protocol, monkeypatch):
    monkeypatch.setattr(client, "FIRST_WAIT", 1e-3)
    serving.fail(2)
    (found,) = ask(serving, protocol, [png()])
    assert found.classes == [2, 1] and serving.tries == 3


@both_protocols
def test_a_server_that_stays_busy_is_given_up(serving, protocol, monkeypatch):
    monkeypatch.setattr(client, "FIRST_WAIT", 1e-3)
    monkeypatch.setattr(client, "LONGEST_WAIT", 0.02)
    serving.fail(10**6)
    with pytest.raises(client.ServerError, match=r"queue .* is full\).*\(asked \d+ times within 1 s\)"):
        ask(serving, protocol, [png()], timeout=1)
    assert serving.tries > 1


@both_protocols
def test_a_refused_request_is_not_sent_again(serving, protocol):
    with pytest.raises(client.ServerError, match="refused the request: INVALID_ARGUMENT .*refused as asked"):
        ask(serving, protocol, [png(), b"refuse"])
    assert serving.tries == 1


@both_protocols
def test_an_answer_that_comes_too_late_is_not_waited_for(serving, protocol):
    serving.hold()
    with pytest.raises(client.ServerError, match="no answer within 0.3 s; allow more with --timeout"):
        ask(serving, protocol, [png()], timeout=0.3)
    assert serving.tries <= 1


@both_protocols
def test_nobody_listens(protocol, monkeypatch):
    monkeypatch.setattr(client, "FIRST_WAIT", 1e-3)
    with socket.socket() as bound:  # a port that nobody else gets, and that refuses
        bound.bind(("127.0.0.1", 0))
        server = f"127.0.0.1:{bound.getsockname()[1]}"
        with pytest.raises(client.ServerError, match=rf"{server} does not serve now \(.*refused.*asked \d+ times"):
            client.detect([png()], server=server, model="detector", protocol=protocol, timeout=0.5)


def test_waiting_doubles_up_to_the_longest_and_ends_before_the_deadline():
    now, slept, left = [100.0], [], []

    def sleep(seconds):
        slept.append(seconds)
        now[0] += seconds

    def busy(seconds):
        left.append(seconds)
        now[0] += 1.0  # each try takes a second
        raise client.Unavailable("busy")

    with pytest.raises(client.ServerError, match=r"busy \(asked 9 times within 30 s\)") as caught:
        client._ask_in_time(busy, 30.0, clock=lambda: now[0], sleep=sleep, chance=lambda: 1.0)
    assert not isinstance(caught.value, client.Unavailable)
    # After the ninth try, at 24.3 s + 1 s, five more seconds would end after the deadline.
    np.testing.assert_allclose(slept, [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0])
    np.testing.assert_allclose(left, 30 - np.cumsum([0, 1.1, 1.2, 1.4, 1.8, 2.6, 4.2, 6.0, 6.0]))


def test_a_last_try_cut_short_tells_what_the_tries_before_told():
    answers = iter([client.Unavailable("busy"), TimeoutError()])

    def ask(_):
        raise next(answers)

    with pytest.raises(client.ServerError, match=r"^busy \(asked 2 times within 30 s\)$"):
        client._ask_in_time(ask, 30.0, sleep=lambda _: None)


def test_chance_takes_up_to_half_of_the_waiting():
    slept = []

    def busy_once(_):
        if not slept:
            raise client.Unavailable("busy")
        return "answer"

    assert client._ask_in_time(busy_once, 30.0, sleep=slept.append, chance=lambda: 0.0) == "answer"
    assert slept == [0.05]


# Servers of another kind.


def serve_once(answer):
    """Listen, take one connection and call `answer(connection)` in a thread: (address, thread)."""
    listening = socket.create_server(("127.0.0.1", 0))

    def run():
        with listening:
            connection, _ = listening.accept()
        with connection:
            answer(connection)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return f"127.0.0.1:{listening.getsockname()[1]}", thread


def test_an_answer_that_never_ends_is_left_at_the_deadline():
    """Bytes keep coming, so that no single read of the socket takes long."""

    def drip(connection):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
            while True:
                connection.sendall(b"x")
        except OSError:
            pass

    server, thread = serve_once(drip)
    with pytest.raises(client.ServerError, match="no answer within 0.3 s"):
        client.detect([png()], server=server, model="detector", timeout=0.3)
    thread.join(10)
    assert not thread.is_alive()  # the client has hung up


@pytest.mark.parametrize(
    "answer, problem",
    [
        (b"220 mail.example.com ESMTP\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "does not answer as TensorFlow Serving does (status 2"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\n<html>404", "does not answer as TensorFlow Serving does"),
        (b'HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n["a", "b"] ', "does not answer as TensorFlow Serving does"),
        (b'HTTP/1.1 200 OK\r\nContent-Length: 22\r\n\r\n{"predictions": [3.5]}', "holds no detections (TypeError"),
        (b'HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\n{"predictions": []}', "answered 0 of 1 pictures"),
        (b"HTTP/1.1 502 Bad\r\nContent-Length: 16\r\n\r\n" + b'{"error": "gone"}'[:16], "status 502"),
    ],
)
def test_other_answers_are_told_from_detections(answer, problem):
    def reply(connection):
        while not connection.recv(65536).endswith(b"}"):  # the end of the request's JSON
            pass
        connection.sendall(answer)

    server, thread = serve_once(reply)
    with pytest.raises(client.ServerError, match=re.escape(problem)):
        client.detect([png()], server=server, model="detector", timeout=10)
    thread.join(10)


@pytest.mark.parametrize("status", [429, 503])
def test_a_proxy_that_says_busy_in_its_own_words_is_asked_again(status, monkeypatch):
    monkeypatch.setattr(client, "FIRST_WAIT", 1e-3)
    asked = []

    class Proxy(http.server.BaseHTTPRequestHandler):
        def do_POST(self):  # noqa: N802
            self.rfile.read(int(self.headers["Content-Length"]))
            asked.append(self.path)
            row = {"detection_boxes": [], "detection_classes": [], "detection_scores": [], "num_detections": 0.0}
            if len(asked) > 2:
                self.send_response(200)
                text = json.dumps({"predictions": [{**row, "image_errors": ""}]})
            else:
                self.send_response(status)
                text = "<html>later"
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as proxy:
        threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        found = client.detect([png()], server=f"127.0.0.1:{proxy.server_port}", model="a model", version="stable")
        proxy.shutdown()
    assert found == [client.Found([], [], [], "")]
    assert asked == ["/v1/models/a%20model/labels/stable:predict"] * 3


@pytest.mark.parametrize("protocol, other", [("rest", "grpc"), ("grpc", "rest")])
def test_the_port_of_the_other_protocol_is_an_error(serving, protocol, other, monkeypatch):
    monkeypatch.setattr(client, "FIRST_WAIT", 1000)  # longer than the deadline: one try
    with pytest.raises(client.ServerError, match="port"):
        client.detect([png()], server=address(serving, other), model="detector", protocol=protocol)


def test_an_unknown_host_is_named():
    with pytest.raises(client.ServerError, match="host.invalid:8501: unknown host"):
        client.detect([png()], server="host.invalid:8501", model="detector")


@pytest.mark.parametrize(
    "changes, problem",
    [
        ({"image_errors": None}, "KeyError: 'image_errors'"),
        ({"num_detections": 4.0}, "4 detections in rows of 3, 3 and 3"),
        ({"num_detections": float("nan")}, "ValueError"),
        ({"detection_scores": [0.5]}, "2 detections in rows of 3, 3 and 1"),
    ],
)
def test_outputs_that_do_not_fit_are_no_detections(changes, problem, monkeypatch):
    row = {"detection_boxes": [[0, 0, 1, 1]] * 3, "detection_classes": [1.0, 2.0, 0.0],
           "detection_scores": [0.9, 0.8, 0.0], "num_detections": 2.0, "image_errors": ""}  # fmt: skip
    monkeypatch.setattr(client, "_prepare_rest", lambda *_: lambda _: [dict(row)])
    (found,) = client.detect([b""], server="host:1", model="m")
    assert found.classes == [1, 2] and found.scores == [0.9, 0.8]
    row = {name: value for name, value in {**row, **changes}.items() if value is not None}
    with pytest.raises(client.ServerError, match=f"holds no detections.*{re.escape(problem)}"):
        client.detect([b""], server="host:1", model="m")


def test_tensors_of_the_messages():
    import tensorflow as tf

    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4) / 7
    as_bytes = tf.make_tensor_proto(array)
    assert as_bytes.tensor_content and client._values(as_bytes) == array.tolist()
    as_numbers = tf.make_tensor_proto(np.float32([0.5]))
    assert not as_numbers.tensor_content and client._values(as_numbers) == [0.5]
    assert client._values(tf.make_tensor_proto(np.zeros((2, 0, 4), np.float32))) == [[], []]
    assert client._values(tf.make_tensor_proto(["", "a"])) == ["", "a"]
    as_bytes.tensor_content = as_bytes.tensor_content[:-4]
    with pytest.raises(ValueError, match="23 values for the shape"):
        client._values(as_bytes)
    with pytest.raises(ValueError, match="type 9 is neither float32 nor string"):
        client._values(tf.make_tensor_proto(np.zeros(3, np.int64)))


# With a real export.


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    """The folder of versions of the small detector."""
    from export.savedmodel.signatures import save

    base = tmp_path_factory.mktemp("exported") / "detector"
    save(model, model.head, {}, base / "1")
    return base


def test_the_client_finds_what_the_keras_model_finds(model, exported, serving_server, tmp_path, capsys):
    """Over both protocols; labels from the export's assets."""
    from keras_frcnn.api.pictures import detect_pixels

    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (*size, 3), np.uint8) for size in ((64, 96), (90, 60), (64, 80))]
    paths = [tmp_path / f"{i}.png" for i in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    expected = [detect_pixels(model, image) for image in images]
    assert all(len(scores) > 3 for _, _, scores in expected)
    with serving_server.ServingServer({"detector": exported}) as server:
        for protocol in ("rest", "grpc"):
            found = ask(server, protocol, [path.read_bytes() for path in paths])
            for (boxes, classes, scores), answer, image in zip(expected, found, images, strict=True):
                assert answer.error == "" and answer.classes == classes.tolist()
                np.testing.assert_allclose(answer.scores, scores, atol=1e-4)
                np.testing.assert_allclose(answer.boxes, boxes / (image.shape[:2] * 2), atol=1e-3)
        status, lines, _ = run(
            capsys, "--server", server.rest_address, "--model", "detector", "--score", 0,
            "--labels", exported / "1" / "assets" / "labels.json", *paths,
        )  # fmt: skip
    assert status == 0
    for line, (boxes, classes, _) in zip(map(json.loads, lines), expected, strict=True):
        assert [entry["class"] for entry in line["detections"]] == [model.class_names[c - 1] for c in classes]
        np.testing.assert_allclose([entry["box"] for entry in line["detections"]], boxes, atol=0.1)


# The command line.


@both_protocols
def test_pictures_are_drawn_and_lines_printed(serving, pictures, tmp_path, capsys, protocol):
    labels = tmp_path / "labels.json"
    labels.write_text('{"1": "cat", "2": "dog"}')
    out = tmp_path / "out"
    status, lines, errors = run(
        capsys, "--server", address(serving, protocol), "--model", "detector", "--protocol", protocol, "--out", out,
        "--labels", labels, "--score", 0.2, "--batch", 2, *pictures,
    )  # fmt: skip
    assert status == 0 and errors == [] and serving.batches == [2, 2, 1]
    assert sorted(path.name for path in out.iterdir()) == [f"picture{i}.detections.png" for i in range(5)]
    for i, (line, path) in enumerate(zip(map(json.loads, lines), pictures, strict=True)):
        height, width = 20 + 10 * i, 60 + 10 * i
        dog, cat = line.pop("detections")
        assert line == {"image": str(path), "height": height, "width": width,
                        "picture": str(out / f"picture{i}.detections.png")}  # fmt: skip
        assert dog["class"] == "dog" and dog["score"] == round(first_score(path.read_bytes()), 4)
        np.testing.assert_allclose(dog["box"], np.multiply([0.1, 0.2, 0.5, 0.6], [height, width] * 2), atol=0.006)
        assert cat == {"class": "cat", "score": 0.25, "box": [height / 4, width / 2, height * 0.75, width]}
        with Image.open(line["picture"]) as drawn:
            assert drawn.size == (width, height) and drawn.mode == "RGB"
            given = Image.open(path)
            assert np.any(np.asarray(drawn) != np.asarray(given))


def test_without_labels_classes_are_numbers_and_low_scores_are_left_out(serving, pictures, capsys):
    status, lines, _ = run(capsys, "--server", serving.rest_address, "--model", "detector", pictures[0])
    assert status == 0
    line = json.loads(lines[0])
    assert [found["class"] for found in line["detections"]] == [2]  # the second is scored under 0.5
    assert line["picture"] == str(pictures[0].parent / "picture0.detections.png")


def test_pictures_the_server_cannot_read_are_named_and_the_others_written(serving, pictures, tmp_path, capsys):
    pictures[1].write_bytes(b"broken")
    out = tmp_path / "out"
    status, lines, errors = run(
        capsys, "--server", serving.rest_address, "--model", "detector", "--out", out, *pictures
    )
    assert status == 1
    assert errors == [f"error: {pictures[1]}: the server cannot read it (no PNG)"]
    written = [0, 2, 3, 4]
    assert [json.loads(line)["image"] for line in lines] == [str(pictures[i]) for i in written]
    assert sorted(path.name for path in out.iterdir()) == [f"picture{i}.detections.png" for i in written]


@both_protocols
def test_a_server_that_fails_is_one_line_and_exit_status_1(serving, pictures, capsys, protocol):
    status, lines, errors = run(
        capsys, "--server", address(serving, protocol), "--protocol", protocol, "--model", "gone", pictures[0]
    )
    assert status == 1 and lines == [] and len(errors) == 1
    assert errors[0].startswith("error: model gone is not served at 127.0.0.1:")


def test_bad_input_is_one_line_and_exit_status_2(serving, pictures, tmp_path, capsys):
    folder = tmp_path / "folder"
    folder.mkdir()
    shutil.copy(pictures[0], folder)
    no_map = tmp_path / "labels.json"
    no_map.write_text('["cat"]')
    too_few = tmp_path / "few.json"
    too_few.write_text('{"1": "cat"}')
    cut = tmp_path / "cut.png"
    cut.write_bytes(png(200, 200)[:60])
    for arguments, beginning, tries in (
        (["gone.png"], "gone.png: no such file", 0),
        ([tmp_path], f"{tmp_path}: no such file", 0),
        ([pictures[0], folder / "picture0.png", "--out", folder], f"{folder}/picture0.detections.png: two pictures", 0),
        ([pictures[0], "--labels", tmp_path / "gone"], f"{tmp_path}/gone: not a label map", 0),
        ([pictures[0], "--labels", no_map], f"{no_map}: not a label map", 0),
        ([pictures[0], "--labels", pictures[0]], f"{pictures[0]}: not a label map", 0),
        ([pictures[0], "--labels", too_few], "--labels has no name for class 2", 1),
        ([pictures[0], "--out", no_map], f"{no_map}/picture0.detections.png: cannot be written", 1),
        ([cut], f"{cut}: Pillow cannot read it", 1),
    ):
        serving.tries = 0
        status, lines, errors = run(capsys, "--server", serving.rest_address, "--model", "detector", *arguments)
        assert status == 2 and lines == [] and len(errors) == 1 and serving.tries == tries, errors
        assert errors[0].startswith(f"error: {beginning}")


@pytest.mark.parametrize(
    "option, value",
    [("--server", "localhost"), ("--server", "http://localhost:8501"), ("--server", "localhost:x"), ("--timeout", "0"),
     ("--timeout", "nan"), ("--batch", "0"), ("--version", "a b"), ("--protocol", "http")],
)  # fmt: skip
def test_options_out_of_range_are_refused(capsys, option, value):
    arguments = {"--server": "localhost:8501", "--model": "detector", option: value}
    status, _, errors = run(capsys, *(part for pair in arguments.items() for part in pair), "picture.png")
    assert status == 2 and f"argument {option}: " in errors[-1]


def test_an_address_may_be_of_ipv6():
    options = client.parse_arguments(["--server", "[::1]:8501", "--model", "m", "p.png"])
    assert http.client.HTTPConnection(options.server).host == "::1"


# Pictures.


def test_the_exif_orientation_is_ignored():
    """As in training: boxes and the drawn picture are in the stored pixels' order."""
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees
    Image.new("RGB", (40, 20)).save(buffer, "JPEG", exif=exif)
    assert client.read_pixels(buffer.getvalue(), "p").size == (40, 20)


@pytest.mark.parametrize("mode, colour", [("L", 128), ("LA", (128, 10)), ("RGBA", (128, 128, 128, 10)), ("P", 128),
                                          ("CMYK", (0, 0, 0, 127)), ("I;16", 128 * 256), ("1", 1)])  # fmt: skip
def test_pictures_of_all_kinds_can_be_drawn_on(mode, colour):
    if mode == "P":
        image = Image.new("P", (5, 4), colour)
        image.putpalette([i for i in range(256) for _ in range(3)])
    else:
        image = Image.new(mode, (5, 4), colour)
    buffer = io.BytesIO()
    image.save(buffer, "TIFF" if mode == "CMYK" else "PNG")
    pixels = np.asarray(client.read_pixels(buffer.getvalue(), "p"))
    assert pixels.shape == (4, 5, 3)
    np.testing.assert_allclose(pixels, 255 if mode == "1" else 128, atol=1)


def test_a_box_is_drawn_on_its_border_in_its_class_colour():
    image = Image.new("RGB", (200, 100), "black")
    drawn = np.asarray(client.draw(image, [[40.0, 50.0, 80.0, 150.0]], [3], [0.75], ["hen"]))
    frame = drawn[40, 60]
    assert frame.max() == 255 and (drawn[79, 60] == frame).all() and (drawn[60, 51] == frame).all()
    assert not drawn[45:75, 55:145].any() and not drawn[85:].any()  # nothing within, nothing below
    assert drawn[20:39, 50:90].any()  # the label above
    assert not np.asarray(image).any()  # the given picture stays as it is
    other = np.asarray(client.draw(image, [[40.0, 50.0, 80.0, 150.0]], [4], [0.75], ["pig"]))
    assert (other[40, 60] != frame).any()
    client.draw(image, [[-5.0, -5.0, 500.0, 500.0], [99.0, 199.0, 99.0, 199.0]], [1, 2], [0.5, 0.5], [1, 2])


# Alone.


def test_the_file_alone_asks_over_rest_with_pillow_only(serving, pictures, tmp_path):
    """Copied away from the project; no import of it, of NumPy, gRPC or TensorFlow."""
    copied = shutil.copy(ROOT / "export" / "client.py", tmp_path)
    done = subprocess.run(
        [sys.executable, "-X", "importtime", copied, "--server", serving.rest_address, "--model", "detector",
         *map(str, pictures)], cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 5
    imported = {line.split("|")[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "PIL" in imported
    assert not imported & {"keras_frcnn", "export", "numpy", "grpc", "google", "tensorflow", "tensorflow_serving"}


def test_help_answers_without_imports_that_take_long():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "export.client", "--help"], cwd=ROOT, capture_output=True, text=True
    )
    imported = {line.split("|")[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert done.returncode == 0 and "python -m export.client" in done.stdout
    assert "argparse" in imported and not imported & {"tensorflow", "keras", "numpy", "PIL", "grpc"}


# The server these tests trust: forms of requests and words of errors as TensorFlow Serving has them.


def rest(serving, method, path, body=None):
    connection = http.client.HTTPConnection(serving.rest_address, timeout=30)
    connection.request(method, path, body if body is None or isinstance(body, str) else json.dumps(body))
    response = connection.getresponse()
    answer = response.status, json.loads(response.read())
    connection.close()
    return answer


def test_rows_and_columns_hold_the_same(serving):
    path = "/v1/models/detector:predict"

    def predict(**values):
        status, answer = rest(serving, "POST", path, {"signature_name": "image_bytes", **values})
        assert status == 200
        return answer

    encoded = [{"b64": "iVBORw=="}, {"b64": ""}]  # \x89PNG, and nothing
    plain, columns = predict(instances=encoded), predict(inputs=encoded)
    assert predict(instances=[{"image_bytes": value} for value in encoded]) == plain
    assert predict(inputs={"image_bytes": encoded}) == columns
    assert [row["image_errors"] for row in plain["predictions"]] == columns["outputs"]["image_errors"] == ["", "no PNG"]
    assert set(columns["outputs"]) == set(client.OUTPUTS)
    assert plain["predictions"][0]["detection_boxes"][0] == [0.1, 0.2, 0.5, 0.6]  # no more digits than float32 has
    # One output has no name, and one signature is the default.
    images = [[[[1, 2, 3], [4, 5, 6]]], [[[0, 0, 0], [0, 0, 7]]]]
    assert rest(serving, "POST", path, {"instances": images}) == (200, {"predictions": [21.0, 7.0]})
    assert rest(serving, "POST", path, {"inputs": images}) == (200, {"outputs": [21.0, 7.0]})


@pytest.mark.parametrize(
    "method, path, body, status, words",
    [
        ("POST", "detector:predict", "{", 400, "JSON Parse error: "),
        ("POST", "detector:predict", "3", 400, "JSON Value: 3 Is not object"),
        ("POST", "detector:predict", {}, 400, "Missing 'inputs' or 'instances' key"),
        ("POST", "detector:predict", {"instances": []}, 400, "No values in 'instances' array"),
        ("POST", "detector:predict", {"instances": ["a"]}, 400,
         'JSON Value: "a" Type: String is not of expected type: uint8'),
        ("POST", "detector:predict", {"signature_name": "image_bytes", "instances": [{"b64": "*"}]}, 400,
         "Unable to base64 decode"),
        ("POST", "detector:predict", {"signature_name": "no", "instances": [1]}, 400,
         'Serving signature name: "no" not found in signature def'),
        ("POST", "detector:predict", {"inputs": {"b": 1}}, 400, "Missing named input: images in 'inputs' object."),
        ("POST", "half:predict", {"instances": [1]}, 404, "Servable not found for request: Latest(half)"),
        ("POST", "detector/versions/9:predict", {}, 404, "Servable not found for request: Specific(detector, 9)"),
        ("POST", "detector/labels/x:predict", {}, 400, "Unrecognized servable version label: x"),
        ("POST", "detector", {}, 400, "Malformed request: POST /v1/models/detector"),
        ("GET", "half", None, 404, "Could not find any versions of model half"),
        ("GET", "half/metadata", None, 404, "Servable not found for request: Latest(half)"),
    ],
)  # fmt: skip
def test_errors_of_rest(serving, method, path, body, status, words):
    found, answer = rest(serving, method, f"/v1/models/{path}", body)
    assert found == status and list(answer) == ["error"] and answer["error"].startswith(words)


def test_status_and_metadata(serving):
    status, answer = rest(serving, "GET", "/v1/models/detector")
    assert status == 200 and [entry["version"] for entry in answer["model_version_status"]] == ["2", "1"]
    assert {entry["state"] for entry in answer["model_version_status"]} == {"AVAILABLE"}
    _, answer = rest(serving, "GET", "/v1/models/detector/labels/stable")
    assert [entry["version"] for entry in answer["model_version_status"]] == ["1"]
    status, answer = rest(serving, "GET", "/v1/models/detector/metadata")
    assert status == 200 and answer["model_spec"] == {"name": "detector", "version": "2"}
    signature = answer["metadata"]["signature_def"]["signature_def"]["image_bytes"]
    assert signature["inputs"]["image_bytes"]["dtype"] == "DT_STRING"
    assert set(signature["outputs"]) == set(client.OUTPUTS)


def test_errors_and_metadata_of_grpc(serving):
    from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc

    with grpc.insecure_channel(serving.grpc_address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

        def refused(**spec):
            request = predict_pb2.PredictRequest()
            request.model_spec.name = spec.pop("name", "detector")
            request.model_spec.signature_name = spec.pop("signature", "image_bytes")
            if spec:
                request.model_spec.version.value = spec["version"]
            with pytest.raises(grpc.RpcError) as caught:
                stub.Predict(request, timeout=30)
            return caught.value.code(), caught.value.details()

        code = grpc.StatusCode
        assert refused(name="half") == (code.NOT_FOUND, "Servable not found for request: Latest(half)")
        assert refused(version=9) == (code.NOT_FOUND, "Servable not found for request: Specific(detector, 9)")
        assert refused(signature="no") == (code.FAILED_PRECONDITION, 'Serving signature key "no" not found.')
        assert refused() == (
            code.INVALID_ARGUMENT,
            "input size does not match signature: 0!=1 len({}) != len({image_bytes}). Sent extra: {}. "
            "Missing but required: {image_bytes}.",
        )
        request = get_model_metadata_pb2.GetModelMetadataRequest()
        request.model_spec.name = "detector"
        request.metadata_field.append("signature_def")
        signatures = get_model_metadata_pb2.SignatureDefMap()
        stub.GetModelMetadata(request, timeout=30).metadata["signature_def"].Unpack(signatures)
        assert {"image_bytes", "serving_default"} <= set(signatures.signature_def)
