# SPDX-License-Identifier: Apache-2.0
"""Float and QDQ ONNX files from lists of nodes: opset 13, IR version 8, the same bytes each time."""

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper

from recipes.nets import fold, forward


class File:
    """Nodes and initialisers in the order in which they are added."""

    def __init__(self, name, shape, outputs, batch):
        self.name, self.nodes, self.arrays = name, [], []
        self.input = helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, *shape])
        self.output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, outputs])

    def array(self, name, value, dtype=np.float32):
        self.arrays.append(numpy_helper.from_array(np.ascontiguousarray(value, dtype=dtype), name))
        return name

    def node(self, op, inputs, output, **attributes):
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def write(self, path):
        self.nodes[-1].output[0] = "y"
        graph = helper.make_graph(self.nodes, self.name, [self.input], [self.output], self.arrays)
        opset = [helper.make_opsetid("", 13)]
        maker = {"ir_version": 8, "opset_imports": opset, "producer_name": "tinybound-examples"}
        model = helper.make_model(graph, **maker)
        checker.check_model(model, full_check=True)
        path.write_bytes(model.SerializeToString(deterministic=True))


def attributes(node):
    """The ONNX attributes of a node of recipes.nets."""
    o = node.options
    if node.op == "Conv":
        k = node.params["w"].shape[2]
        return {"kernel_shape": [k, k], "pads": [o.get("pad", 0)] * 4, "strides": [o.get("stride", 1)] * 2}
    if node.op in ("MaxPool", "AveragePool"):
        return {"kernel_shape": [o["kernel"]] * 2, "strides": [o["kernel"]] * 2}
    return {"Gemm": {"transB": 1}, "BatchNormalization": {"epsilon": o.get("epsilon")}}.get(node.op, {})


def write_float(path, nodes, shape, *, batch=1, softmax=False, matmul=False):
    """matmul writes each Gemm as MatMul and Add, as some exporters do."""
    f = File(path.stem, shape, len(nodes[-1].params["b"]), batch)
    for n in nodes:
        p, name = n.params, n.output
        if n.op == "Gemm" and matmul:
            f.node("MatMul", [n.inputs[0], f.array(f"{name}_w", p["w"].T)], f"{name}_matmul")
            f.node("Add", [f"{name}_matmul", f.array(f"{name}_b", p["b"])], name)
            continue
        arrays = [f.array(f"{name}_{k}", v) for k, v in p.items()]
        if n.op == "BatchNormalization":
            arrays += [f.array(f"{name}_{k}", n.options[k]) for k in ("mean", "variance")]
        f.node(n.op, [*n.inputs, *arrays], name, **attributes(n))
    if softmax:
        f.node("Softmax", [nodes[-1].output], "probabilities", axis=1)
    f.write(path)


def grid(values, dtype):
    """Scale and zero point that cover the values and 0 with all of dtype's integers."""
    lo, hi = min(values.min(), 0.0), max(values.max(), 0.0)
    limits = np.iinfo(dtype)
    scale = np.float32((hi - lo) / (limits.max - limits.min))
    return scale, int(np.clip(np.round(limits.min - lo / scale), limits.min, limits.max))


def write_qdq(path, nodes, shape, x, *, batch=1, dtype=np.int8):
    """Quantises after training, on the inputs x: activations per tensor, weights s8 per output channel."""
    nodes = fold(nodes)
    values, _ = forward(nodes, x)
    f = File(path.stem, shape, len(nodes[-1].params["b"]), batch)
    seen, grids = {}, {}  # value -> its name after Q and DQ; its scale and zero point

    def requantise(value, like=None):
        scale, zero = grids[value] = grids[like] if like else grid(values[value], dtype)
        constants = [f.array(f"{value}_scale", scale), f.array(f"{value}_zero", zero, dtype)]
        f.node("QuantizeLinear", [value, *constants], f"{value}_q")
        seen[value] = f.node("DequantizeLinear", [f"{value}_q", *constants], f"{value}_dq")

    requantise("x")
    for n, after in zip(nodes, [*nodes[1:], None], strict=True):
        inputs = [seen[i] for i in n.inputs]
        if n.params:
            w, b = n.params["w"], n.params["b"]
            peak = np.abs(w).reshape(len(w), -1).max(axis=1)
            sx = grids[n.inputs[0]][0]
            s = np.maximum(np.maximum(peak / 127, np.abs(b) / (sx * 2.0**30)), 2.0**-30)  # an int32 holds b
            s = s.astype(np.float32)
            q = np.clip(np.round(w / s.astype(float).reshape(-1, *[1] * (w.ndim - 1))), -127, 127)
            bias_scale = (s * sx).astype(np.float32)
            for key, value, scale, kind in (
                ("w", q, s, np.int8), ("b", np.round(b / bias_scale.astype(float)), bias_scale, np.int32),
            ):  # fmt: skip
                name = f"{n.output}_{key}"
                arrays = [f.array(name, value, kind), f.array(f"{name}_scale", scale)]
                zero = [f.array(f"{name}_zero", np.zeros(len(s)), kind)]
                inputs.append(f.node("DequantizeLinear", arrays + zero, f"{name}_dq", axis=0))
        f.node(n.op, inputs, n.output, **attributes(n))
        if after and after.op == "Relu":  # the Relu is part of the requantisation that follows it
            seen[n.output] = n.output
        else:
            requantise(n.output, like=n.inputs[0] if n.op in ("MaxPool", "Flatten") else None)
    f.write(path)
