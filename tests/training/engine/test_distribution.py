"""The same iterations on one device, on two, and in two processes."""

import json
import os
import re
import socket
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from keras_frcnn.data.sources.loading import load_dataset
from keras_frcnn.data.sources.spec import DataSpec
from keras_frcnn.data.stream.order import Share
from keras_frcnn.data.stream.pipeline import training_batches
from keras_frcnn.facts.errors import InputError
from training.engine.distribution import connect_machines, map_images, number_of_processes

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = Path(__file__).with_name("train_on_replicas.py")


def start(mode, tree, folder, name, task=None):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    if task is not None:
        environment["TF_CONFIG"] = json.dumps(task)
    command = [sys.executable, SCRIPT, mode, tree, folder / "proposals", folder / f"{name}.npz"]
    return subprocess.Popen(
        [str(part) for part in command], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def weights(folder, name):
    """The weights of each replica that a process held."""
    stored = dict(np.load(folder / f"{name}.npz"))
    numbers = sorted({key.partition("/")[0] for key in stored})
    return [{key[2:]: value for key, value in stored.items() if key.startswith(f"{number}/")} for number in numbers]


@pytest.fixture(scope="module")
def one_device(voc_tree, tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    process = start("one", voc_tree, folder, "one")
    output, _ = process.communicate()
    assert process.returncode == 0, output
    (result,) = weights(folder, "one")
    return result


def layers(stored):
    """The weights of each layer in one vector: biases, which start from zero, hold little but rounding alone."""
    names = sorted({path.rpartition("/")[0] for path in stored})
    return {name: np.concatenate([stored[f"{name}/{part}"].ravel() for part in ("kernel", "bias")]) for name in names}


def assert_same_training(expected, replicas):
    assert len(replicas) == 2 and replicas[0].keys() == expected.keys()
    for path in expected:
        np.testing.assert_array_equal(replicas[0][path], replicas[1][path], err_msg=path)
    expected, found = layers(expected), layers(replicas[0])
    assert len(expected) == 13 + 3 + 4
    for name, value in expected.items():
        difference = np.linalg.norm(found[name] - value) / np.linalg.norm(value)
        assert difference < 1e-5, f"{name}: {difference}"


@pytest.mark.slow
def test_two_devices_train_as_one(one_device, voc_tree, tmp_path):
    process = start("two", voc_tree, tmp_path, "two")
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert "2 replicas" in output and "static batch sizes {1}" in output
    assert_same_training(one_device, weights(tmp_path, "two"))


def cluster_of_two():
    """The TF_CONFIG of each of two processes on free ports of the loopback address."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    workers = [f"127.0.0.1:{server.getsockname()[1]}" for server in sockets]
    for server in sockets:
        server.close()
    return [{"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}} for index in range(2)]


@pytest.mark.slow
def test_two_processes_train_as_one(one_device, voc_tree, tmp_path):
    processes = [start("worker", voc_tree, tmp_path, f"worker{i}", task) for i, task in enumerate(cluster_of_two())]
    for process in processes:
        output, _ = process.communicate(timeout=600)
        assert process.returncode == 0, output
        assert "2 replicas" in output and "static batch sizes {1}" in output
    assert_same_training(one_device, [weights(tmp_path, f"worker{index}")[0] for index in range(2)])


def start_training(tree, folder, task):
    options = (
        "--short-side 64 --fc-units 32 --anchor-scales 16 32 --min-size 4 --rois 16 --weights none "
        "--iterations 120 4 4 4 --checkpoint-iterations 10"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CONFIG": json.dumps(task)}
    return subprocess.Popen(
        [sys.executable, "-m", "training.alternate", "--data", f"voc:{tree}", "--run", str(folder), *options.split()],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_worker_ends_the_others_and_all_go_on_together(voc_tree, tmp_path, lost):
    processes = [start_training(voc_tree, tmp_path / "run", task) for task in cluster_of_two()]
    chief, shown = processes[0], ""
    while "| 20/60 " not in shown:  # the state after iteration 10 is in a checkpoint by now
        read = chief.stderr.read(1)
        assert read, shown
        shown += read
    processes[lost].kill()
    _, errors = processes[1 - lost].communicate(timeout=300)
    assert processes[1 - lost].returncode == 75, errors
    assert "lost another worker" in errors and "training resumes from the newest checkpoint" in errors
    processes[lost].communicate()

    processes = [start_training(voc_tree, tmp_path / "run", task) for task in cluster_of_two()]
    outputs = [process.communicate(timeout=600) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    (iteration,) = re.findall(r"step 1 RPN: resumes from iteration (\d+)", outputs[0][0])
    assert 10 <= int(iteration) < 60 and (tmp_path / "run" / "model.keras").is_file()


def test_every_picture_goes_to_one_replica(voc_tree, model):
    """What pipelines and replicas take, put together, are the batches of one device."""
    dataset = load_dataset(DataSpec(data=f"voc:{voc_tree}"), "train")
    whole = training_batches(dataset, model.config.image, 4, seed=5, start=8).take(3)
    expected = [seeds.tolist() for batch in whole for seeds in batch.seeds.numpy()]
    shares = [
        iter(training_batches(dataset, model.config.image, 1, seed=5, start=8, share=Share(pipeline, 2, 2)))
        for pipeline in range(2)
    ]
    dealt = [next(share).seeds.numpy()[0].tolist() for _ in range(3) for share in shares for _ in range(2)]
    assert dealt == expected


def test_the_stream_resumes_at_any_position(voc_tree, model):
    dataset = load_dataset(DataSpec(data=f"voc:{voc_tree}"), "train")
    for start in (0, 3, 8, 21):
        expected = list(training_batches(dataset, model.config.image, 1, seed=5).skip(start).take(2))
        found = list(training_batches(dataset, model.config.image, 1, seed=5, start=start).take(2))
        for a, b in zip(expected, found, strict=True):
            assert a.seeds.numpy().tolist() == b.seeds.numpy().tolist() == [[5, int(a.seeds[0, 1])]]
            np.testing.assert_array_equal(a.images, b.images)


def test_one_device_maps_each_picture_once(voc_tree, model):
    dataset = load_dataset(DataSpec(data=f"voc:{voc_tree}"), "train")
    items = [(2, False), (0, True), (2, True)]
    found = list(map_images(lambda batch: batch.image_sizes, dataset, model.config.image, items, "test"))
    assert [item for item, _, _ in found] == items
    for (index, _), batch, sizes in found:
        assert batch.image_ids.numpy()[0].decode() == dataset.examples[index].image_id
        np.testing.assert_array_equal(sizes, batch.image_sizes)
    assert list(map_images(lambda batch: batch.image_sizes, dataset, model.config.image, [], "test")) == []


TWO = {"chief": ["a:1"], "worker": ["b:1"]}
WRONG_TYPE = "task.type must be that of this machine in the cluster"


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("{", ""),
        ("[]", "it and its cluster must be objects"),
        ({"cluster": []}, "it and its cluster must be objects"),
        ({"cluster": {"worker": "a:1"}}, "cluster.worker must be chief or worker, with a list of addresses"),
        ({"cluster": {"worker": [1, 2]}}, "cluster.worker must be chief or worker, with a list of addresses"),
        ({"cluster": TWO | {"ps": ["c:1"]}}, "cluster.ps must be chief or worker, with a list of addresses"),
        ({"cluster": {"chief": ["a:1", "b:1"]}}, "cluster.chief must be one address"),
        ({"cluster": TWO}, WRONG_TYPE),
        ({"cluster": TWO, "task": []}, WRONG_TYPE),
        ({"cluster": TWO, "task": {"type": [], "index": 0}}, WRONG_TYPE),
        ({"cluster": TWO, "task": {"type": "evaluator", "index": 0}}, WRONG_TYPE),
        ({"cluster": TWO, "task": {"type": "worker"}}, "task.index must be a whole number from 0 to 0, not None"),
        (
            {"cluster": TWO, "task": {"type": "worker", "index": 1}},
            "task.index must be a whole number from 0 to 0, not 1",
        ),
        (
            {"cluster": TWO, "task": {"type": "chief", "index": -1}},
            "task.index must be a whole number from 0 to 0, not -1",
        ),
    ],
)
def test_a_cluster_of_another_form_is_named(monkeypatch, value, problem):
    monkeypatch.setenv("TF_CONFIG", value if isinstance(value, str) else json.dumps(value))
    monkeypatch.setattr(tf.distribute, "MultiWorkerMirroredStrategy", lambda: pytest.fail("it was not refused"))
    with pytest.raises(InputError) as caught:
        connect_machines()
    assert str(caught.value).startswith(f"TF_CONFIG: cannot be read ({problem}")
    assert "; set it to {" in str(caught.value)


@pytest.mark.parametrize(
    ("cluster", "task", "connects"),
    [
        ({}, None, False),
        ({"worker": ["a:1"]}, None, False),
        ({"chief": ["a:1"]}, {"type": "chief", "index": 0}, False),
        (TWO, {"type": "chief", "index": 0}, True),
        (TWO, {"type": "worker", "index": "0"}, True),
        ({"worker": ["a:1", "b:1"]}, {"type": "worker", "index": 1}, True),
    ],
)
def test_chief_and_workers_are_machines(monkeypatch, cluster, task, connects):
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster} | ({"task": task} if task else {})))
    monkeypatch.setattr(tf.distribute, "MultiWorkerMirroredStrategy", lambda: "connected")
    assert connect_machines() == ("connected" if connects else None)


@pytest.mark.parametrize(("cluster", "count"), [(TWO, 2), ({"worker": ["a:1", "b:1", "c:1"]}, 3), ({}, 1)])
def test_all_wait_for_chief_and_workers(monkeypatch, cluster, count):
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(tf.train.ClusterSpec(cluster))
    strategy = types.SimpleNamespace(cluster_resolver=resolver)
    monkeypatch.setattr(tf.distribute, "get_strategy", lambda: strategy)
    assert number_of_processes() == count
