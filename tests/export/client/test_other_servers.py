"""The client against servers that do not answer as TensorFlow Serving does."""

import http.server
import json
import re
import socket
import threading

import numpy as np
import pytest

from export import client


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


def test_an_answer_that_never_ends_is_left_at_the_deadline(png):
    """Bytes keep arriving, so no single read of the socket takes long."""

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
def test_other_answers_are_told_from_detections(png, answer, problem):
    def reply(connection):
        while not connection.recv(65536).endswith(b"}"):  # the end of the request's JSON
            pass
        connection.sendall(answer)

    server, thread = serve_once(reply)
    with pytest.raises(client.ServerError, match=re.escape(problem)):
        client.detect([png()], server=server, model="detector", timeout=10)
    thread.join(10)


ROW = {
    "detection_boxes": [[0.1, 0.2, 0.3, 0.4]],
    "detection_classes": [1.0],
    "detection_scores": [0.5],
    "num_detections": 1.0,
    "image_errors": "",
}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({}, None),
        ({"detection_boxes": [[0.1, float("nan"), 0.3, 0.4]]}, "nan is not from 0 to 1"),
        ({"detection_boxes": [[0.1, 1e30, 0.3, 0.4]]}, "1e+30 is not from 0 to 1"),
        ({"detection_boxes": [[0.1, 0.2, 0.3]]}, "a box does not have four corners"),
        ({"detection_boxes": [["0.1", 0.2, 0.3, 0.4]]}, "'0.1' is not a number"),
        ({"detection_boxes": [[0.1, True, 0.3, 0.4]]}, "True is not a number"),
        ({"detection_scores": [float("inf")]}, "inf is not from 0 to 1"),
        ({"detection_scores": []}, "1 detections in rows of 1, 1 and 0"),
        ({"detection_classes": [0.0]}, "0.0 is not from 1 to 1e+06"),
        ({"detection_classes": [0.9995]}, None),  # class 1: 0 would be the background
        ({"detection_classes": [1e9]}, "1000000000.0 is not from 1 to 1e+06"),
        ({"num_detections": float("inf")}, "cannot convert float infinity to integer"),
        ({"num_detections": 2.0}, "2 detections in rows of 1, 1 and 1"),
        ({"num_detections": None}, "TypeError"),
        ({"image_errors": 3}, "image_errors holds 3, which is not text"),
        ({"image_orientations": 9}, "image_orientations holds 9"),
    ],
)
def test_each_value_of_an_answer_is_checked(png, monkeypatch, changes, problem):
    text = json.dumps({"predictions": [{**ROW, **changes}]})
    monkeypatch.setattr(client, "_post", lambda *_: (200, text))
    if problem is None:
        (found,) = client.detect([png()], server="localhost:1", model="detector")
        assert found == client.Found([[0.1, 0.2, 0.3, 0.4]], [1], [0.5], "")
    else:
        with pytest.raises(client.ServerError, match=re.escape(problem)):
            client.detect([png()], server="localhost:1", model="detector")


def test_an_answer_that_is_nested_endlessly_is_none(png, monkeypatch):
    monkeypatch.setattr(client, "_post", lambda *_: (200, "[" * 10**6))
    with pytest.raises(client.ServerError, match="does not answer as TensorFlow Serving does"):
        client.detect([png()], server="localhost:1", model="detector")


@pytest.mark.parametrize(
    ("shape", "count"), [([10**9, 0], 0), ([-1, -1], 1), ([1] * 999, 1), ([2, 3], 5), ([0] * 4, 0)]
)
def test_tensors_with_impossible_shapes_are_refused(shape, count):
    from tensorflow.core.framework.tensor_pb2 import TensorProto

    tensor = TensorProto(dtype=1, float_val=[0.0] * count)
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
    with pytest.raises(ValueError, match="values for the shape"):
        client._values(tensor)


@pytest.mark.parametrize("status", [429, 503])
def test_a_proxy_that_says_busy_in_its_own_words_is_asked_again(png, status, monkeypatch):
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
def test_the_port_of_the_other_protocol_is_an_error(png, serving, protocol, other, monkeypatch):
    monkeypatch.setattr(client, "FIRST_WAIT", 1000)  # longer than the deadline: one try
    with pytest.raises(client.ServerError, match="port"):
        client.detect([png()], server=serving.address(other), model="detector", protocol=protocol)


def test_an_unknown_host_is_named(png):
    with pytest.raises(client.ServerError, match="host.invalid:8501: unknown host"):
        client.detect([png()], server="host.invalid:8501", model="detector")


@pytest.mark.parametrize(
    "changes, problem",
    [
        ({"image_errors": None}, "KeyError: 'image_errors'"),
        ({"num_detections": 4.0}, "4 detections in rows of 3, 3 and 3"),
        ({"num_detections": float("nan")}, "ValueError"),
        ({"image_orientations": 9.0}, "image_orientations holds 9, which is no EXIF orientation"),
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
