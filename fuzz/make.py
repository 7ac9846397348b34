#!/usr/bin/env python3
"""Makes the models of fuzz/corpus/model: a few nodes of many kinds. Needs numpy and onnx:

    python fuzz/make.py
"""

import pathlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FOLDER = pathlib.Path(__file__).parent / "corpus" / "model"
rng = np.random.default_rng(3)


def save(name, nodes, weights, shape=("N", 3, 8, 8), dim=4, opset=17):
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [shape[0], dim])
    tensors = [numpy_helper.from_array(np.asarray(value), key) for key, value in weights.items()]
    graph = helper.make_graph(nodes, name, [image], [out], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, FOLDER / f"{name}.onnx")


def node(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs.split(), outputs.split(), **attributes)


def weights(**shapes):
    return {name: rng.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}


def ints(*values):
    return np.array(values, np.int64)


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    save("convolutions", [
        node("Conv", "x w1 b1", "a", pads=[1, 1, 1, 1], strides=[2, 2]),
        node("BatchNormalization", "a s b m v", "n"), node("Relu", "n", "r"),
        node("Conv", "r w2", "d", group=4, pads=[1, 1, 1, 1]), node("Clip", "d lo hi", "c"), node("Add", "c r", "e"),
        node("MaxPool", "e", "p", kernel_shape=[2, 2], strides=[2, 2]), node("GlobalAveragePool", "p", "g"),
        node("Flatten", "g", "f"), node("Gemm", "f w3 b3", "y", transB=1),
    ], weights(w1=(4, 3, 3, 3), b1=(4,), s=(4,), b=(4,), m=(4,), w2=(4, 1, 3, 3), w3=(4, 4), b3=(4,))
        | {"v": np.ones(4, np.float32), "lo": np.float32(0), "hi": np.float32(6)})
    save("attention", [
        node("Conv", "x w", "a", strides=[4, 4]), node("Shape", "a", "s"), node("Gather", "s zero", "n"),
        node("Unsqueeze", "n axes", "nu"), node("Concat", "nu rest", "to", axis=0), node("Reshape", "a to", "t"),
        node("Transpose", "t", "q", perm=[0, 2, 1]), node("MatMul", "q wq", "k"), node("Transpose", "k", "kt", perm=[0, 2, 1]),
        node("MatMul", "q kt", "l"), node("Softmax", "l", "p", axis=-1), node("MatMul", "p k", "o"),
        node("LayerNormalization", "o g", "h", axis=-1), node("Erf", "h", "e"), node("Mul", "h e", "u"),
        node("ReduceMean", "u", "y", axes=[1], keepdims=0),
    ], weights(w=(4, 3, 4, 4), wq=(4, 4), g=(4,)) | {"zero": np.int64(0), "axes": ints(0), "rest": ints(4, 4)})
    save("sequence", [
        node("Squeeze", "x axis", "s"), node("Transpose", "s", "t", perm=[1, 0, 2]), node("LSTM", "t w r", "o h", hidden_size=4),
        node("Squeeze", "h lead", "y"),
    ], weights(w=(1, 16, 8), r=(1, 16, 4)) | {"axis": ints(1), "lead": ints(0)}, shape=("N", 1, 8, 8))
    scale = {"sx": np.float32(0.02), "zx": np.uint8(3), "sw": np.array([0.01, 0.02, 0.01, 0.03], np.float32), "zw": np.zeros(4, np.int8),
             "w": rng.integers(-99, 99, (4, 3, 3, 3)).astype(np.int8)}
    save("quantised", [
        node("QuantizeLinear", "x sx zx", "a"), node("DequantizeLinear", "a sx zx", "b"),
        node("DequantizeLinear", "w sw zw", "c", axis=0), node("Conv", "b c", "d", strides=[2, 2]),
        node("AveragePool", "d", "e", kernel_shape=[3, 3], ceil_mode=1), node("Flatten", "e", "y"),
    ], scale)
    save("shapes", [
        node("Pad", "x pads", "a"), helper.make_node("Resize", ["a", "", "sizes"], ["b"], mode="linear"), node("Slice", "b from till axes step", "c"),
        node("Split", "c", "d e", axis=1), node("Where", "mask d e", "f"), node("Expand", "f to", "g"),
        node("ReduceMax", "g", "h", axes=[2], keepdims=1), node("Gather", "h pick", "i", axis=3),
        node("Tile", "i times", "j"), node("Flatten", "j", "k"), node("MatMul", "k w", "y"),
    ], weights(w=(8, 4)) | {"pads": ints(0, 0, 1, 1, 0, 1, 1, 1), "sizes": np.array([1, 1, 2, 2], np.float32), "from": ints(0, 0), "till": ints(4, 99),
        "axes": ints(1, 2), "step": ints(1, 2), "mask": np.array([True, False] * 10), "to": ints(1, 2, 1, 1),
        "pick": ints(0, 3), "times": ints(1, 1, 1, 2)})


main()
