"""The measurement of the machine: every kind of work has a cost, and the costs of parts add up."""

import dataclasses

import pytest

from keras_frcnn.data.sources.loading import load_dataset
from keras_frcnn.data.sources.spec import DataSpec
from training.engine.inference import image_features
from training.run.planning import machine as module
from training.run.planning.costs import Costs, Line, kind_of, shared


def test_a_line_grows_with_the_picture():
    assert Line(0.5, 2.0).seconds(250_000) == 1.0
    assert Line(0.5, 2.0).plus(Line(0.25, 3.0), -1.0) == Line(0.25, 0.0)


@pytest.mark.parametrize(
    ("trains", "kind"),
    [(("backbone", "rpn"), "backbone+rpn"), (("head",), "head"), (("head", "rpn", "backbone"), "backbone+rpn+head")],
)
def test_kinds(trains, kind):
    assert kind_of(trains) == kind


def samples_of(*pixels):
    return [module._Sample(size, 0.0, [], []) for size in pixels]


@pytest.mark.parametrize(
    ("seconds", "line"),
    [
        ((0.2, 0.5), Line(0.1, 1.0)),
        ((0.2, 0.2), Line(0.2, 0.0)),
        ((0.3, 0.2), Line(0.2, 0.0)),
        ((0, 0.3), Line(0.0, 1.0)),
    ],
)
def test_the_line_through_two_sizes(seconds, line):
    assert tuple(module._line(samples_of(100_000, 400_000), seconds)) == pytest.approx(tuple(line), abs=1e-9)


def test_the_kinds_are_sums_of_their_parts():
    measured = {
        "backbone+head": Line(5.0, 50.0),
        "head": Line(2.0, 1.0),
        "rpn": Line(0.5, 0.25),
        "proposals": Line(1, 2),
    }
    kinds = module._all_kinds(measured, reading=Line(0.0, 4.0))
    assert kinds["backbone+head"] == Line(5.0, 54.0)
    assert kinds["backbone+rpn"] == Line(3.5, 53.25)  # without the head
    assert kinds["rpn+head"] == Line(3.5, 3.25)
    assert kinds["backbone+rpn+head"] == Line(6.5, 56.25)


@pytest.mark.parametrize(("limit", "expected"), [("4096\n", 4096), ("max\n", None), (None, None)])
def test_the_memory_of_a_container(tmp_path, monkeypatch, limit, expected):
    path = tmp_path / "memory.max"
    if limit is not None:
        path.write_text(limit)
    monkeypatch.setattr(module, "_CGROUP_LIMIT", path)
    assert module._memory() == expected if expected else module._memory() > 2**28


@pytest.mark.parametrize(
    ("program", "bytes_", "message"),
    [
        ("echo 81920; echo 40960", 40960 * 2**20, ""),  # two GPUs
        ("exit 9", 4096, "the memory of the GPU is not known, so the plan counts that of the machine: Command"),
        ("echo '[N/A]'", 4096, "the memory of the GPU is not known"),
        (None, 4096, "the memory of the GPU is not known"),
    ],
)
def test_the_memory_of_a_gpu(tmp_path, monkeypatch, caplog, program, bytes_, message):
    (tmp_path / "memory.max").write_text("4096\n")
    monkeypatch.setattr(module, "_CGROUP_LIMIT", tmp_path / "memory.max")
    monkeypatch.setattr(module.tf.config, "list_logical_devices", lambda kind: [kind] * (kind == "GPU"))
    monkeypatch.setenv("PATH", str(tmp_path))
    if program is not None:
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{program}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
    assert module._memory() == bytes_
    assert message in caplog.text and bool(message) == bool(caplog.text)


def test_replicas_share_the_pictures():
    line = Line(0.5, 2.0)
    costs = shared(Costs({"rpn": Line(1.0, 0.0), "head": line}, line, line, line, tracing=3.0), 4)
    share = Line(0.125, 0.5)
    assert costs == Costs({"rpn": Line(0.25, 0.0), "head": share}, share, share, share, tracing=3.0)


@pytest.mark.slow
def test_a_machine_is_measured(small_config, voc_tree, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SHORT_SIDES", (48, 160))  # larger than the detector is made for
    monkeypatch.setattr(module, "REPETITIONS", 1)
    traced = []

    def counted(model, batch):
        traced.append(batch)
        return image_features(model, batch)

    monkeypatch.setattr(module, "image_features", counted)
    dataset = load_dataset(DataSpec(data=f"voc:{voc_tree}"), "train")
    config = dataclasses.replace(small_config, head=dataclasses.replace(small_config.head, batch_size=8))
    found = module.measure_machine(config, "float32", dataset, tmp_path / "not" / "yet")
    assert found.memory > 0 and found.free_disk > 0
    costs = found.costs
    for line in (*costs.iterations.values(), costs.features, costs.proposals, costs.detections):
        assert line.fixed >= 0 and line.per_megapixel >= 0 and line.seconds(64 * 96) > 0
    assert costs.tracing > 0
    # One graph serves both sizes; the other calls computed the stored features.
    assert sum(not hasattr(batch.images, "numpy") for batch in traced) == 1


def test_the_speed_of_bfloat16_is_the_time_of_float32_over_its_own(monkeypatch):
    seconds = {"float32": 3.0, "bfloat16": 2.0}
    monkeypatch.setattr(module, "_seconds", lambda function: seconds[function()[0].dtype.name])
    assert module.measure_bfloat16() == 1.5
