"""One request of the client: what comes back, when it is sent again, and when the client gives up.

The server listens on the loopback address and speaks TensorFlow Serving's protocol.
"""

import re
import socket

import numpy as np
import pytest

from export import client

both_protocols = pytest.mark.parametrize("protocol", ["rest", "grpc"])


def ask(server, protocol, pictures, model="detector", **options):
    return client.detect(pictures, server=server.address(protocol), model=model, protocol=protocol, **options)


@both_protocols
def test_pictures_come_back_in_order_with_what_was_found(first_score, png, serving, protocol):
    sent = [png(20, 30), png(64, 10) + bytes(3), png(300, 200) + bytes(40)]  # bytes after a picture are ignored
    found = ask(serving, protocol, sent)
    assert serving.batches == [3]  # one request
    for picture, answer in zip(sent, found, strict=True):
        assert answer.error == "" and answer.classes == [2, 1]  # padding is gone
        np.testing.assert_allclose(answer.boxes, [[0.1, 0.2, 0.5, 0.6], [0.25, 0.5, 0.75, 1.0]], atol=1e-7)
        np.testing.assert_allclose(answer.scores, [first_score(picture), 0.25], atol=1e-7)
    assert len({answer.scores[0] for answer in found}) == 3


@both_protocols
def test_a_picture_that_cannot_be_read_does_not_cost_the_others(png, serving, protocol):
    good, bad, other = ask(serving, protocol, [png(), b"not a picture\xff\x00", png(9, 9)])
    assert bad == client.Found([], [], [], "no PNG")
    assert len(good.boxes) == len(other.boxes) == 2 and good.error == other.error == ""


def test_no_pictures_are_no_request(serving):
    assert ask(serving, "rest", []) == [] and serving.tries == 0


@both_protocols
def test_versions_are_asked_by_number_and_by_label(png, serving, protocol):
    for version, second_score in ((None, 0.25), (1, 0.125), (2, 0.25), ("stable", 0.125), ("canary", 0.25)):
        (found,) = ask(serving, protocol, [png()], version=version)
        assert found.scores[1] == second_score, version


@both_protocols
def test_a_large_picture_and_a_large_answer_pass(
    first_score, png, serving_server, write_fake_model, tmp_path, protocol
):
    """gRPC's default limit is 4 MB.  The request is larger, and over gRPC the answer, too."""
    rows = {"rest": 3, "grpc": 200_000}[protocol]
    write_fake_model(tmp_path / "1", rows=rows)
    with serving_server.ServingServer({"detector": tmp_path}) as server:
        large = png() + bytes(5_000_000)
        (found,) = ask(server, protocol, [large])
    assert found.scores[0] == pytest.approx(first_score(large))


@both_protocols
def test_wrong_names_are_named(png, serving, protocol):
    for options, problem in (
        ({"model": "detektor"}, "model detektor is not served at 127.0.0.1:"),
        ({"version": 7}, "model detector, version 7, is not served at 127.0.0.1:"),
        ({"version": "new"}, "model detector, version new, is not served at 127.0.0.1:"),
        ({"model": "other"}, "model other has no signature image_bytes ("),
    ):
        with pytest.raises(client.ServerError, match=re.escape(problem)):
            ask(serving, protocol, [png()], **options)
    assert serving.tries == 0


@both_protocols
def test_a_busy_server_is_asked_again(png, serving, protocol, monkeypatch):
    monkeypatch.setattr(client, "FIRST_WAIT", 1e-3)
    serving.fail(2)
    (found,) = ask(serving, protocol, [png()])
    assert found.classes == [2, 1] and serving.tries == 3


@both_protocols
def test_a_server_that_stays_busy_is_given_up(png, serving, protocol, monkeypatch):
    monkeypatch.setattr(client, "FIRST_WAIT", 1e-3)
    monkeypatch.setattr(client, "LONGEST_WAIT", 0.02)
    serving.fail(10**6)
    with pytest.raises(client.ServerError, match=r"queue .* is full\).*\(asked \d+ times within 1 s\)"):
        ask(serving, protocol, [png()], timeout=1)
    assert serving.tries > 1


@both_protocols
def test_a_refused_request_is_not_sent_again(png, serving, protocol):
    with pytest.raises(client.ServerError, match="refused the request: INVALID_ARGUMENT .*refused as asked"):
        ask(serving, protocol, [png(), b"refuse"])
    assert serving.tries == 1


@both_protocols
def test_an_answer_that_comes_too_late_is_not_waited_for(png, serving, protocol):
    serving.hold()
    with pytest.raises(client.ServerError, match="no answer within 0.3 s; allow more with --timeout"):
        ask(serving, protocol, [png()], timeout=0.3)
    assert serving.tries <= 1


@both_protocols
def test_nobody_listens(png, protocol, monkeypatch):
    monkeypatch.setattr(client, "FIRST_WAIT", 1e-3)
    with socket.socket() as bound:  # a port that nobody else gets, and that refuses
        bound.bind(("127.0.0.1", 0))
        server = f"127.0.0.1:{bound.getsockname()[1]}"
        with pytest.raises(client.ServerError, match=rf"{server} is unavailable \(.*refused.*asked \d+ times"):
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
