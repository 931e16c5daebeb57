# SPDX-License-Identifier: Apache-2.0
"""A quantised .tflite file as our integer network: the same integers and scales, one of our rounding modes.

Only what the MLPerf Tiny networks need: int8, one input, weights without zero point. `value N` is tensor N of
the file, channels first; `sum N` is the accumulator before it.
"""

from fractions import Fraction
from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tinybound.graph import Graph, Node, Value, check
from tinybound.ops import Add, AveragePool, Clip, Conv, Dense, Reshape, Softmax
from tinybound.ops.base import IntegerWeights, Scaled
from tinybound.quantise.lower import lower

OPS = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
ACTIVATIONS = {0: Clip(), 1: Clip(0.0), 3: Clip(0.0, 6.0)}
SAME = 0


def first(array):
    """(N, H, W, C) as (N, C, H, W); other ranks as they are."""
    return np.moveaxis(array, -1, 1) if array.ndim == 4 else array


class Reader:
    """Collects our float nodes with the file's integers beside them."""

    def __init__(self, path: Path) -> None:
        model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
        self.model, self.tensors = model, model.subgraphs[0].tensors
        self.nodes, self.values, self.weights = [], {}, {}
        self.wanted, self.kinds = {}, {}
        source = int(model.subgraphs[0].inputs[0])
        self.inputs = (self.store(source),)
        for op in model.subgraphs[0].operators:
            code = model.operatorCodes[op.opcodeIndex]
            self.take(OPS[max(code.builtinCode, code.deprecatedBuiltinCode)], op)
        self.outputs = tuple(f"value {int(i)}" for i in model.subgraphs[0].outputs)

    def network(self, mode: str) -> Graph:
        """The integer network."""
        graph = Graph("tflite", self.inputs, self.outputs, tuple(self.nodes), self.values)
        return lower(check(graph, integer=False), self.wanted, self.weights, mode)

    def scale(self, index: int) -> tuple[Fraction, ...]:
        return tuple(Fraction(float(s)) for s in self.tensors[index].quantization.scale)

    def constant(self, index: int, dtype):
        tensor = self.tensors[index]
        return np.frombuffer(bytes(self.model.buffers[tensor.buffer].data), dtype).reshape(tensor.shape)

    def store(self, index: int) -> str:
        name, tensor = f"value {index}", self.tensors[index]
        (scale,), (zero,) = self.scale(index), tensor.quantization.zeroPoint
        self.wanted[name] = Scaled(scale, int(zero), -128, 127)
        shape = first(np.empty(tensor.shape)).shape[1:]
        self.values[name] = Value(name, shape)
        return name

    def take(self, kind: str, op) -> None:
        """One operator of the file: a node, or a sum and its activation."""
        options, out = op.builtinOptions, int(op.outputs[0])
        reads = [f"value {int(i)}" for i in op.inputs if f"value {int(i)}" in self.values]
        shape = self.values[reads[0]].shape
        target = self.store(out)
        self.kinds[target] = kind
        if kind in ("RESHAPE", "SOFTMAX"):
            ours = Softmax() if kind == "SOFTMAX" else Reshape(self.values[target].shape)
            assert kind == "SOFTMAX" or len(shape) == 1 or shape[1:] == (1, 1), "an order that matters"
            self.nodes.append(Node(target, ours, tuple(reads), target))
            return
        name = f"sum {out}"
        if kind == "ADD":
            ours = Add()
        elif kind == "AVERAGE_POOL_2D":
            kernel = (options.filterHeight, options.filterWidth)
            ours = AveragePool(shape, kernel, (options.strideH, options.strideW))
            assert options.padding != SAME or ours.shape(shape) == self.values[target].shape, "padding"
        else:
            ours = self.weighted(kind, op, shape, name)
        self.values[name] = Value(name, ours.shape(*(self.values[n].shape for n in reads)))
        self.nodes.append(Node(name, ours, tuple(reads), name))
        self.nodes.append(Node(target, ACTIVATIONS[options.fusedActivationFunction], (name,), target))

    def weighted(self, kind: str, op, shape, name: str):
        """A float Conv or Dense; its integers go to `weights`."""
        options, (_, at, bias_at) = op.builtinOptions, (int(i) for i in op.inputs)
        assert not np.any(self.tensors[at].quantization.zeroPoint), "weights with a zero point"
        stored, bias = self.constant(at, np.int8), self.constant(bias_at, np.int32).astype(np.int64)
        if kind != "FULLY_CONNECTED":
            stored = (
                stored.transpose(3, 0, 1, 2) if kind == "DEPTHWISE_CONV_2D" else np.moveaxis(stored, 3, 1)
            )
        scales = self.scale(at)
        scales = scales if len(scales) > 1 else scales * len(stored)
        self.weights[name] = IntegerWeights(stored.astype(np.int64), scales, bias=bias)
        each = np.array([float(s) for s in scales]).reshape(-1, *(1,) * (stored.ndim - 1))
        if kind == "FULLY_CONNECTED":
            return Dense(stored * each, bias * 1.0)
        strides = (options.strideH, options.strideW)
        dilations = (options.dilationHFactor, options.dilationWFactor)
        pads = (0, 0, 0, 0)
        if options.padding == SAME:
            pads = _same(shape[1:], stored.shape[2:], strides, dilations)
        groups = shape[0] if kind == "DEPTHWISE_CONV_2D" else 1
        return Conv(stored * each, bias * 1.0, shape, strides, dilations, pads, groups)


def _same(sizes, kernel, strides, dilations):
    """(top, left, bottom, right): ceil(size / stride) places, the odd pixel of padding at the end."""
    total = [
        max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
        for n, k, s, d in zip(sizes, kernel, strides, dilations, strict=True)
    ]
    return (*(t // 2 for t in total), *(t - t // 2 for t in total))
