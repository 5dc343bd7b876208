"""Export a detector as one TFLite file, from pixels to boxes, of TFLite's own operations alone.

    python -m export.tflite --model runs/synthetic --size 240x320 --out detector.tflite
    python -m export.tflite --model runs/synthetic --size 240x320 --out small.tflite --quantize int8 --calibrate *.jpg

prints the size of the file and how far its answers lie from the Keras model's; a minute, and a few seconds more for
each picture that calibrates or is compared.  A file that answers otherwise is not put in place: exit status 1.
`export/tflite_sample.py` shows its use.

Nothing inside resizes: SIZE is the size the network sees, and the app resizes to it.  Training's rule is
`images.resized_size`; a data set whose pictures are all of one size has one SIZE without any loss.
"""

import argparse
import os

from export.shared.options import DETECTION_OUTPUTS, add_model_options, add_parity_options, run_export

QUANTIZATIONS = ("none", "float16", "dynamic", "int8")
LARGEST_MAP_LOSS = 0.02


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(
        prog="python -m export.tflite", description="Export a detector as one TFLite file of builtin operations."
    )
    add_model_options(parser)
    parser.add_argument("--out", required=True, metavar="FILE.tflite", help="the file to write")
    parser.add_argument(
        "--size", required=True, metavar="HxW", help="height and width at which the network runs, e.g. 480x640"
    )
    parser.add_argument(
        "--quantize", choices=QUANTIZATIONS, default="none",
        help="none: float32; float16: weights; dynamic: weights in int8, activations too by each picture's ranges; "
        "int8: both, by ranges measured beforehand (default: none)",
    )  # fmt: skip
    parser.add_argument(
        "--calibrate", nargs="+", metavar="PICTURE", help="int8 measures ranges on these: some dozens of real pictures"
    )
    add_parity_options(parser)
    return parser.parse_args(arguments)


def main(arguments=None):
    run_export(parse_arguments(arguments), export)


def export(options, say):
    """Convert, quantise, compare and write as `options` say, telling `say`; raises InputError and ParityError."""
    from export.shared.options import load_for_export
    from export.shared.parity import images_to_compare, read_dataset
    from export.litemodel.metadata import add_files
    from keras_frcnn.facts.files import write_atomically

    size = parse_size(options.size)
    path = check_out(options)
    calibration = calibration_pictures(options, size)
    images = images_to_compare(options)
    model = load_for_export(options)
    dataset = read_dataset(options, model.class_names)

    content = convert(model, size)
    say(f"converted: {len(content) / 2**20:.1f} MiB, {describe_operators(content)}")
    if options.quantize != "none":
        content = quantize(content, options.quantize, calibration)
        on = f" on {len(calibration)} pictures" if calibration else ""
        say(f"quantised to {options.quantize}{on}: {len(content) / 2**20:.1f} MiB")
    content = with_metadata(content, size)

    def write(temporary):
        temporary.write_bytes(content)
        add_files(temporary, model.class_names, model.config, size, options.quantize)
        compare_with_keras(temporary, model, size, options.quantize, images, dataset, say)

    write_atomically(path, write)
    say(f"written to {path}: {path.stat().st_size / 2**20:.1f} MiB")


def parse_size(text: str) -> tuple[int, int]:
    """Height and width of `HxW`; raises InputError."""
    import re

    from keras_frcnn.facts.errors import InputError
    from keras_frcnn.data.images import LEAST_SIDE

    match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text, re.ASCII)
    if match is None:
        raise InputError("--size", f"{text!r} is no size", "give height and width in pixels, e.g. 480x640")
    size = int(match[1]), int(match[2])
    if min(size) < LEAST_SIDE:
        raise InputError("--size", f"{text} leaves no cell of features", f"give sides of at least {LEAST_SIDE} pixels")
    return size


def check_out(options):
    """The path to write to; raises InputError where something must not be replaced."""
    import pathlib

    from export.shared.options import check_free
    from keras_frcnn.facts.errors import InputError

    path = pathlib.Path(options.out)
    if path.is_dir():
        raise InputError(path, "is a folder", "give the name of a file with --out")
    check_free(path, options.force)
    return path


def calibration_pictures(options, size) -> list:
    """The pictures that int8 measures ranges on, (H, W, 3) uint8 of `size`; raises InputError."""
    from export.shared.parity import given_images
    from keras_frcnn.facts.errors import InputError

    if options.quantize == "int8" and not options.calibrate:
        raise InputError("--calibrate", "is missing", "int8 needs some dozens of real pictures to measure ranges on")
    if options.quantize != "int8" and options.calibrate:
        raise InputError("--calibrate", f"has no use in --quantize {options.quantize}", "leave it out, or ask for int8")
    return [resize_picture(image, size) for image in given_images(options.calibrate or ())]


def resize_picture(image, size):
    """(H, W, 3) uint8 -> (size[0], size[1], 3) uint8, resized as in training: what an app does with a picture."""
    import tensorflow as tf

    from keras_frcnn.data.images import resize

    return tf.cast(tf.round(resize(image, size)), tf.uint8).numpy()


def detection_function(model, size):
    """`model` as a tf.function of one picture (1, H, W, 3) uint8 of `size`, in TensorFlow's detection convention."""
    import tensorflow as tf

    from export.savedmodel.signatures import detection_outputs
    from keras_frcnn.data.images import normalise
    from keras_frcnn.network import forward
    from keras_frcnn.network.roi_pooling import roi_pool_by_gather

    parts = model.parts._replace(config=with_exact_thresholds(model.config), pool=roi_pool_by_gather)
    sizes = tf.constant([size])

    @tf.function(input_signature=[tf.TensorSpec([1, *size, 3], tf.uint8, name="images")], autograph=False)
    def run(images):
        return detection_outputs(forward.detect(parts, parts.backbone(normalise(images)), sizes), sizes)

    return run


def with_exact_thresholds(config):
    """`config` for TFLite's NMS, which drops a box whose IoU is the threshold; TensorFlow's drops those over it."""
    import dataclasses

    import numpy as np

    def next_float(threshold):
        return min(float(np.nextafter(np.float32(threshold), np.float32(np.inf))), 1.0)  # its own IoU drops each box

    return dataclasses.replace(
        config,
        rpn=dataclasses.replace(config.rpn, nms_iou=next_float(config.rpn.nms_iou)),
        test=dataclasses.replace(config.test, nms_iou=next_float(config.test.nms_iou)),
    )


def convert(model, size) -> bytes:
    """`model` as a TFLite model in float32, of TFLite's builtin operations alone, without metadata."""
    import tempfile

    import tensorflow as tf

    module = tf.Module()
    module.run = detection_function(model, size)
    # By way of a Keras model the converter would not see the weights as constants.
    module.weights = [variable.value for variable in model.variables]
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures={"serving_default": module.run})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        return fold_transposed_weights(converter.convert())


def fold_transposed_weights(content: bytes) -> bytes:
    """Transpose weights now that the converter leaves to the runtime: those of fc6 are too large for it.

    Left so, a copy of 411 MB more would be in memory and the weights could not be quantised.
    """
    import numpy as np
    from ai_edge_litert.schema_py_generated import BufferT, BuiltinOperator

    model = _unpack(content)
    (graph,) = model.subgraphs

    def data(index):
        return model.buffers[graph.tensors[index].buffer].data

    def is_folded(operator):
        if model.operatorCodes[operator.opcodeIndex].builtinCode != BuiltinOperator.TRANSPOSE:
            return False
        weights, axes = operator.inputs
        if data(weights) is None:
            return False
        values = np.frombuffer(data(weights), np.float32).reshape(graph.tensors[weights].shape)
        values = np.ascontiguousarray(values.transpose(np.frombuffer(data(axes), np.int32)))
        folded = BufferT()
        folded.data = values.view(np.uint8).ravel()
        model.buffers.append(folded)
        graph.tensors[operator.outputs[0]].buffer = len(model.buffers) - 1
        model.buffers[graph.tensors[weights].buffer].data = None
        return True

    graph.operators = [operator for operator in graph.operators if not is_folded(operator)]
    return _pack(model)


def with_metadata(content: bytes, size) -> bytes:
    """The TFLite model `content` with the metadata of `tflite_metadata` inside, its outputs in their order."""
    import numpy as np
    from ai_edge_litert.schema_py_generated import BufferT, MetadataT

    from export.litemodel.metadata import NAME, build_metadata

    model = _unpack(content)
    (graph,), (signature,) = model.subgraphs, model.signatureDefs
    index_of = {output.name.decode(): output.tensorIndex for output in signature.outputs}
    graph.outputs = [index_of[name] for name in DETECTION_OUTPUTS]
    buffer, entry = BufferT(), MetadataT()
    buffer.data = np.frombuffer(build_metadata(size), np.uint8)
    entry.name, entry.buffer = NAME.encode(), len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or ()), entry]
    return _pack(model)


def _unpack(content: bytes):
    """The tables of a TFLite model as objects that can be changed."""
    import numpy as np
    from ai_edge_litert.tools.flatbuffer_utils import read_model_from_bytearray

    model = read_model_from_bytearray(content)
    for buffer in model.buffers:
        if isinstance(buffer.data, bytes):  # would be packed byte by byte in Python: minutes
            buffer.data = np.frombuffer(buffer.data, np.uint8)
    return model


def _pack(model) -> bytes:
    """The inverse of `_unpack`."""
    from ai_edge_litert.tools.flatbuffer_utils import convert_object_to_bytearray

    return bytes(convert_object_to_bytearray(model))


def operators(content: bytes):
    """How often each operation stands in a TFLite model, by name; that of one not builtin begins with CUSTOM."""
    from collections import Counter

    from ai_edge_litert.schema_py_generated import BuiltinOperator

    names = {code: name for name, code in vars(BuiltinOperator).items() if isinstance(code, int)}
    model = _unpack(content)

    def name(operator):
        code = model.operatorCodes[operator.opcodeIndex]
        custom = code.customCode
        return names[code.builtinCode] if custom is None else f"CUSTOM: {custom.decode()}"

    return Counter(name(operator) for graph in model.subgraphs for operator in graph.operators)


def describe_operators(content: bytes) -> str:
    """How many operations a TFLite model has, for people."""
    counts = operators(content)
    custom = [name for name in counts if name.startswith("CUSTOM")]
    return f"{sum(counts.values())} operations of {len(counts)} kinds, {', '.join(custom) or 'all builtin'}"


def recipe(quantization: str):
    """What is quantised, as a RecipeManager of ai-edge-quantizer: convolutions and fully connected layers alone.

    Anchors, decoding and NMS stay in float32: in int8 a box could only be right to a 256th of the picture, and in
    float16 to half a pixel.  For the same reason the layers that say deltas and scores give them in float32, from int8
    weights, in `int8` too.
    """
    from ai_edge_quantizer.qtyping import (
        ComputePrecision,
        OpQuantizationConfig,
        TensorDataType,
        TensorQuantizationConfig,
        TFLOperationName,
    )
    from ai_edge_quantizer.quantizer import AlgorithmName
    from ai_edge_quantizer.recipe_manager import RecipeManager

    manager = RecipeManager()
    layers = TFLOperationName.CONV_2D, TFLOperationName.FULLY_CONNECTED
    for operation in layers:
        if quantization == "float16":
            config = OpQuantizationConfig(
                weight_tensor_config=TensorQuantizationConfig(num_bits=16, dtype=TensorDataType.FLOAT),
                compute_precision=ComputePrecision.FLOAT,
                explicit_dequantize=True,
            )
            manager.add_quantization_config(".*", operation, config, AlgorithmName.FLOAT_CASTING)
        else:
            manager.add_dynamic_config(".*", operation, num_bits=8)
    if quantization == "int8":
        for operation in (*layers, TFLOperationName.MAX_POOL_2D):
            manager.add_static_config(
                "^(backbone|.*/rpn_conv|.*/fc[67])", operation, activation_num_bits=8, weight_num_bits=8
            )  # later rules win
    return manager


def quantize(content: bytes, quantization: str, calibration) -> bytes:
    """A float32 TFLite model quantised as `recipe` says; `calibration` are pictures for int8, else empty."""
    import contextlib
    import io

    from ai_edge_quantizer.quantizer import Quantizer

    manager = recipe(quantization)
    ranges = measure_ranges(content, manager, calibration) if manager.need_calibration() else None
    quantizer = Quantizer(content, manager.get_quantization_recipe())
    with contextlib.redirect_stderr(io.StringIO()):  # bars that are over at once, a warning that is wrong here
        result = quantizer.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
    return bytes(result.quantized_model)


def measure_ranges(content: bytes, manager, calibration) -> dict:
    """The range of each tensor of a float32 TFLite model: least and largest value, their means over `calibration`.

    The least and largest of all pictures would spend steps on what is in few of them, and move more detections.
    """
    import contextlib
    import io

    import numpy as np
    from ai_edge_quantizer.calibrator import CalibrationMode, Calibrator
    from tqdm import tqdm

    # The other mode keeps all tensors, and copies of them: gigabytes.
    calibrator = Calibrator(content, os.cpu_count(), CalibrationMode.CALIBRATION_PROFILER_BASED)
    by_picture = []
    for picture in tqdm(calibration, "calibration", unit="picture"):
        calibrator.reset_model_qsvs()
        with contextlib.redirect_stderr(io.StringIO()):  # a bar of its own that stands still in this mode
            calibrator.calibrate({"serving_default": [{"images": picture[None]}]}, manager)
        by_picture.append(calibrator.get_model_qsvs())
    return {
        name: {end: np.mean([ranges[name][end] for ranges in by_picture], axis=0) for end in ("min", "max")}
        for name in by_picture[0]
    }


def tflite_detector(path, size):
    """A function from one (H, W, 3) uint8 picture to its detections by the TFLite file `path`."""
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(str(path), num_threads=os.cpu_count()).get_signature_runner()

    def detect(image):
        outputs = runner(images=resize_picture(image, size)[None])
        boxes, classes, scores, count = (outputs[name][0] for name in DETECTION_OUTPUTS)
        found = int(count)
        boxes, classes, scores = boxes[:found], classes[:found], scores[:found]
        return boxes, classes.astype(int), scores

    return detect


def keras_detector(model, size):
    """A function from one (H, W, 3) uint8 picture to its detections by the Keras model, from the pixels TFLite gets."""
    import numpy as np
    import tensorflow as tf

    from keras_frcnn.data.images import normalise

    def detect(image):
        pixels = resize_picture(image, size)
        detections = model((normalise(pixels)[None], tf.constant([size])))
        boxes, classes, scores, valid = (field[0].numpy() for field in detections)
        return boxes[valid] / np.float32(size * 2), classes[valid], scores[valid]

    return detect


def compare_with_keras(path, model, size, quantization: str, images, dataset, say):
    """Raise ParityError where the TFLite file `path` answers otherwise than the Keras model at the same `size`.

    On `images` detections are compared one to one.  On a data set, mAP may fall by LARGEST_MAP_LOSS at most.
    """
    from export.shared.parity import ParityError, check, compare, format_parity, mean_average_precision

    tolerance = tolerances()[quantization]
    ours, theirs = keras_detector(model, size), tflite_detector(path, size)
    parity = compare(*([detect(image) for image in images] for detect in (ours, theirs)), tolerance, model.config.test)
    say(f"compared with the Keras model: {format_parity(parity)}")
    check(parity, tolerance)
    if dataset is not None:
        before, after = (
            mean_average_precision(detect, dataset, title) for title, detect in (("Keras", ours), ("TFLite", theirs))
        )
        say(f"mAP on {dataset.name} at this size: {before:.4f} of the Keras model, {after:.4f} of the file")
        if not after >= before - LARGEST_MAP_LOSS:
            raise ParityError(f"mAP falls by {before - after:.4f} (at most {LARGEST_MAP_LOSS})")


def tolerances():
    """How far a file may lie from the Keras model, by quantisation.

    Rounding makes NMS keep another of two proposals now and then, and the detection moves with it: of 302 detections of
    blood cells 3 in float16, and 6 in int8, lay further.  Few bits are judged by mAP on a data set; detections one by
    one show that nothing is broken.
    """
    from export.shared.parity import Tolerance

    return {
        "none": Tolerance(1e-3, 1e-3),
        "float16": Tolerance(5e-3, 5e-3, share=0.97),
        "dynamic": Tolerance(0.05, 0.1, share=0.9),
        "int8": Tolerance(0.05, 0.1, share=0.9),
    }


if __name__ == "__main__":
    main()
