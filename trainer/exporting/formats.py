"""Writes the model of a run in one format each: SavedModel, ONNX, LiteRT, Keras."""

import importlib
import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from multihot.errors import UserError
from multihot.quiet import quiet
from schemas import typed
from trainer.exporting.serving import IMAGES, PROBABILITIES, OfPixels, Served
from trainer.model_file import ModelInfo
from trainer.prediction import scoring

# Names in the folder of an export.
SAVED_MODEL, ONNX, KERAS = "saved_model", "model.onnx", "model.keras"
LITERT, LITERT_INT8 = "model.tflite", "model_int8.tflite"
# The version of the operations of ONNX: the newest one that the converter writes.
_OPSET = 18


def write_saved_model(network: keras.Model, info: ModelInfo, folder: Path) -> None:
    """Writes a SavedModel for TensorFlow and TensorFlow Serving, which takes encoded images.

    Args:
        network: images -> probabilities [batch, k].
        info: what it takes.
        folder: to write to: the number of the version below it is 1, as TensorFlow Serving expects.
    """
    served = Served(network, info)
    signatures = {
        "serving_default": served.of_bytes.get_concrete_function(),
        IMAGES: served.of_images.get_concrete_function(),
    }
    with quiet():
        tf.saved_model.save(served, str(folder / "1"), signatures=signatures)


def write_onnx(network: keras.Model, info: ModelInfo, path: Path) -> None:
    """Writes an ONNX file: images uint8 [n, height, width, 3] of any size -> probabilities float32 [n, k].

    The class names, thresholds and other notes are in its metadata.

    Raises:
        UserError: tf2onnx is not installed.
    """
    try:
        tf2onnx: Any = importlib.import_module("tf2onnx")
        onnx: Any = importlib.import_module("onnx")
    except ImportError as error:
        raise UserError(f"--formats=onnx needs more packages: pip install 'multihot[export]' ({error})") from error
    signature = [tf.TensorSpec([None, None, None, 3], tf.uint8, name=IMAGES)]
    with quiet():
        frozen = _frozen(_of_pixels(network, info, batch=None))
        function = tf.function(lambda images: frozen(images)[0], signature)
        proto, _ = tf2onnx.convert.from_function(
            function, input_signature=signature, opset=_OPSET, custom_op_handlers={"Erfc": (_erfc, [])}
        )
    proto.graph.output[0].name, old = PROBABILITIES, proto.graph.output[0].name
    for node in proto.graph.node:
        node.output[:] = [PROBABILITIES if name == old else name for name in node.output]
    onnx.helper.set_model_props(proto, {name: _text(value) for name, value in typed.plain(info).items()})
    onnx.checker.check_model(proto)
    path.write_bytes(proto.SerializeToString())


def write_litert(
    network: keras.Model,
    info: ModelInfo,
    path: Path,
    examples: Callable[[], Iterable[npt.NDArray[np.uint8]]] | None = None,
) -> None:
    """Writes a LiteRT file: an image uint8 [1, height, width, 3] of any size -> probabilities float32 [1, k].

    Args:
        network: images -> probabilities [batch, k].
        info: what it takes.
        path: of the file.
        examples: returns images of the training split, uint8 [1, size, size, 3]. With them weights and activations are
            of 8 bits, and the images must have the size of the model.
    """
    function = _of_size(network, info) if examples else _of_pixels(network, info, batch=1)
    with quiet():
        # With variables, which the converter takes for its own, the file has no weights.
        converter = tf.lite.TFLiteConverter.from_concrete_functions([_frozen(function)], tf.Module())
        if examples:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.inference_input_type = tf.uint8
            converter.representative_dataset = lambda: ([example.astype(np.float32)] for example in examples())
        content = converter.convert()
    path.write_bytes(content)


def write_keras(model: Path, path: Path) -> None:
    """Copies the file of Keras, which has its notes inside."""
    shutil.copyfile(model, path)


def write_notes(info: ModelInfo, path: Path) -> None:
    """Writes the notes about a model as JSON, for readers of LiteRT files, which have no place for them."""
    path.write_text(json.dumps(typed.plain(info), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _of_pixels(network: keras.Model, info: ModelInfo, batch: int | None) -> Any:
    return tf.function(OfPixels(network, info).__call__, [tf.TensorSpec([batch, None, None, 3], tf.uint8, name=IMAGES)])


def _of_size(network: keras.Model, info: ModelInfo) -> Any:
    """Returns the model for images of its own size: in 8 bits, the products that resize would lose their precision."""
    spec = tf.TensorSpec([1, info.image_size, info.image_size, 3], tf.float32, name=IMAGES)
    return tf.function(lambda images: scoring.probabilities(network, info, images), [spec])


def _erfc(context: Any, node: Any, name: str, arguments: Any) -> None:
    """Writes 1 - Erf(x) in place of Erfc(x), by which TensorFlow computes GELU, and which ONNX does not have."""
    erf = context.make_node("Erf", node.input)
    one = context.make_const(f"{name}_one", np.ones((), np.float32))
    shapes, types = node.output_shapes, node.output_dtypes
    context.remove_node(node.name)
    context.make_node(
        "Sub", [one.output[0], erf.output[0]], name=name, outputs=node.output, shapes=shapes, dtypes=types
    )


def _frozen(function: Any) -> Any:
    """Returns a function as a concrete one of the same argument, with a list of results, whose weights are constants.

    Keras lets XLA compile a convolution of groups of channels, as those of ConvNeXt. Such a call would stay in the
    graph, and no other runtime knows it; a call that need not be compiled becomes a part of the graph.
    """
    concrete = convert_variables_to_constants_v2(function.get_concrete_function())
    graph = concrete.graph.as_graph_def()
    for node in graph.node:
        if "_XlaMustCompile" in node.attr:
            node.attr["_XlaMustCompile"].b = False
    wrapped = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(graph, name=""), [])
    return wrapped.prune([tensor.name for tensor in concrete.inputs], [tensor.name for tensor in concrete.outputs])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
