"""Quantise a TFLite model: which operations, in how many bits, by which ranges."""

import contextlib
import io
import os
from collections.abc import Sequence

import numpy as np
from ai_edge_quantizer.calibrator import CalibrationMode, Calibrator
from ai_edge_quantizer.qtyping import (
    ComputePrecision,
    OpQuantizationConfig,
    TensorDataType,
    TensorQuantizationConfig,
    TFLOperationName,
)
from ai_edge_quantizer.quantizer import AlgorithmName, Quantizer
from ai_edge_quantizer.recipe_manager import RecipeManager
from tqdm import tqdm

Ranges = dict[str, dict[str, np.ndarray]]  # of each tensor by name: "min" and "max"


def recipe(quantization: str) -> RecipeManager:
    """What is quantised: only convolutions and fully connected layers, and for int8 the poolings between them.

    Anchors, decoding and NMS stay in float32.  In int8 a box could only be exact to a 256th of the picture, and in
    float16 to half a pixel.  For the same reason the layers that give deltas and scores give them in float32, from int8
    weights, with `int8` too.

    `quantization` is one of `options.QUANTIZATIONS` except "none".
    """
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
            # A later rule replaces an earlier one for the same operation.
            manager.add_static_config(
                "^(backbone|.*/rpn_conv|.*/fc[67])", operation, activation_num_bits=8, weight_num_bits=8
            )
    return manager


def quantize(content: bytes, quantization: str, calibration: Sequence[np.ndarray]) -> bytes:
    """Quantise a float32 TFLite model as `recipe` says.

    `calibration` are pictures (H, W, 3) uint8 of the size that the model takes.  Only int8 uses them.
    """
    manager = recipe(quantization)
    ranges = measure_ranges(content, manager, calibration) if manager.need_calibration() else None
    quantizer = Quantizer(content, manager.get_quantization_recipe())
    # The quantiser writes progress bars that end at once, and a warning that does not apply here.
    with contextlib.redirect_stderr(io.StringIO()):
        result = quantizer.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
    return bytes(result.quantized_model)


def measure_ranges(content: bytes, manager: RecipeManager, calibration: Sequence[np.ndarray]) -> Ranges:
    """Measure the range of each tensor of a float32 TFLite model: the mean of its minima and of its maxima.

    The extremes of all pictures would be wider, and most of the 256 levels would cover values that few pictures have.
    More detections would move.
    """
    # The other mode keeps all tensors and copies of them, which takes gigabytes.
    calibrator = Calibrator(content, os.cpu_count(), CalibrationMode.CALIBRATION_PROFILER_BASED)
    by_picture = []
    for picture in tqdm(calibration, "calibration", unit="picture"):
        calibrator.reset_model_qsvs()
        with contextlib.redirect_stderr(io.StringIO()):  # the calibrator's own progress bar never moves in this mode
            calibrator.calibrate({"serving_default": [{"images": picture[None]}]}, manager)
        by_picture.append(calibrator.get_model_qsvs())
    return {
        name: {end: np.mean([ranges[name][end] for ranges in by_picture], axis=0) for end in ("min", "max")}
        for name in by_picture[0]
    }
