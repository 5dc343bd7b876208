"""What the SavedModel is made of: TensorFlow's ops, variables and assets, and three signatures."""

import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import op_def_registry

from keras_frcnn.facts.config import config_to_dict
from keras_frcnn.facts.files import read_json


@pytest.fixture(scope="module")
def graph(exported):
    content = saved_model_pb2.SavedModel.FromString((exported[0] / "saved_model.pb").read_bytes())
    return content.meta_graphs[0]


def test_all_ops_are_tensorflows_own(graph):
    library = graph.graph_def.library
    nodes = [*graph.graph_def.node, *(node for function in library.function for node in function.node_def)]
    functions = {function.signature.name for function in library.function}
    ops = {node.op for node in nodes} - functions
    assert {"Conv2D", "CropAndResize", "NonMaxSuppressionV4", "DecodeImage", "DecodeJpeg", "ResizeBilinear"} <= ops
    assert {name for name in ops if op_def_registry.get(name) is None} == set()
    assert not {name for name in ops if "PyFunc" in name or "Python" in name or "Generator" in name}


def test_its_objects_are_variables_and_assets(exported, loaded, graph, detector):
    model, _ = detector
    kinds = [node.WhichOneof("kind") for node in graph.object_graph_def.nodes]
    assert kinds.count("variable") == len(model.variables) and kinds.count("asset") == 2
    assert "function" not in kinds  # Python can call only the signatures
    identifiers = {node.user_object.identifier for node in graph.object_graph_def.nodes}
    assert not {name for name in identifiers if "keras" in name.lower()}
    assert set(loaded.signatures) == {"serving_default", "image_bytes", "proposals"}
    stored = sum(path.stat().st_size for path in (exported[0] / "variables").iterdir())
    assert 4 * model.count_params() < stored < 4.2 * model.count_params()  # stored once, not once for each signature


def test_labels_and_configuration_are_assets(exported, loaded, detector):
    model, _ = detector
    assert read_json(loaded.labels.asset_path.numpy().decode()) == {"1": "cat", "2": "dog", "3": "hen"}
    assert read_json(loaded.config.asset_path.numpy().decode()) == {
        "detector": config_to_dict(model.config), "precision": "float32", "svd": None, "max_pixels": 2**26
    }  # fmt: skip
    assert sorted(path.name for path in (exported[0] / "assets").iterdir()) == ["config.json", "labels.json"]


def test_the_signatures_read_well(graph):
    def described(tensors):
        return {
            name: (tf.as_dtype(info.dtype).name, *(dimension.size for dimension in info.tensor_shape.dim))
            for name, info in tensors.items()
        }

    detections = {
        "detection_boxes": ("float32", -1, 20, 4),
        "detection_classes": ("float32", -1, 20),
        "detection_scores": ("float32", -1, 20),
        "num_detections": ("float32", -1),
    }
    images = {"images": ("uint8", -1, -1, -1, 3)}
    found = {name: graph.signature_def[name] for name in ("serving_default", "image_bytes", "proposals")}
    assert {name: (described(each.inputs), described(each.outputs)) for name, each in found.items()} == {
        "serving_default": (images, detections),
        "image_bytes": (
            {"image_bytes": ("string", -1)},
            {**detections, "image_errors": ("string", -1), "image_orientations": ("float32", -1)},
        ),
        "proposals": (
            images,
            {
                "proposal_boxes": ("float32", -1, 40, 4),
                "proposal_scores": ("float32", -1, 40),
                "num_proposals": ("float32", -1),
            },
        ),
    }
