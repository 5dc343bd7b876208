"""The reason in an error of TensorFlow, whatever stands around it."""

import errno

import pytest
import tensorflow as tf

from keras_frcnn.data.tensorflow_errors import reason_of, writing


def error_of(function, *arguments):
    with pytest.raises(tf.errors.OpError) as caught:
        function(*arguments)
    return caught.value


def test_the_reason_of_an_operation_is_that_of_a_graph():
    """TensorFlow puts the place in the code above the reason if the operation is one of a compiled function."""
    eager, graph = (error_of(read, tf.constant("/no/file")) for read in (tf.io.read_file, tf.function(tf.io.read_file)))
    assert graph.message.startswith("Graph execution error:") and 'File "' in graph.message
    assert reason_of(eager) == reason_of(graph) == "/no/file; No such file or directory"


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("Graph execution error:\n\n"
         "Detected at node a defined at (most recent call last):\n<stack traces unavailable>\n"
         "Detected at node b defined at (most recent call last):\n<stack traces unavailable>\n2 root error(s) found.\n"
         "  (0) RESOURCE_EXHAUSTED:  OOM\n  (1) CANCELLED:  stopped", "OOM"),
        ("{{function_node __wrapped__Decode}} not a JPEG. [Op:DecodeJpeg]", "not a JPEG"),
        ("one\ntwo", "one"),
        ("", "UnknownError"),
        ("Graph execution error:\n\n", "UnknownError"),
        ("x" * 300, "x" * 200),
    ],
)  # fmt: skip
def test_one_line_is_left(message, reason):
    assert reason_of(tf.errors.UnknownError(None, None, message)) == reason


def test_a_failed_write_names_the_file_and_the_cause():
    with pytest.raises(OSError) as caught, writing("a/b"):
        raise tf.errors.ResourceExhaustedError(None, None, "a/b; No space left on device")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, "a/b")
    assert caught.value.strerror == "a/b; No space left on device"
