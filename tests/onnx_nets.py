# SPDX-License-Identifier: Apache-2.0
"""ONNX models written node by node, saved, and run by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper, shape_inference

FLOAT, INT8, UINT8 = TensorProto.FLOAT, TensorProto.INT8, TensorProto.UINT8
BY_TYPE = {np.dtype(np.int8): INT8, np.dtype(np.uint8): UINT8}


class Net:
    """A model under construction. Methods return tensor names."""

    def __init__(self, *shape: Any, opset: int = 13, kind: int = FLOAT, seed: int = 0) -> None:
        self.opset, self.rng = opset, np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.inputs = [helper.make_tensor_value_info("x", kind, list(shape))]

    def put(
        self, kind: str, *inputs: str, outputs: int = 1, name: str | None = None, **attributes: Any
    ) -> str:
        """A node; its (first) output."""
        i = len(self.nodes)
        outs = [f"{kind.lower()}{i}" + (f"_{k}" if k else "") for k in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), outs, name or f"{kind}_{i}", **attributes))
        return outs[0]

    def constant(self, array: Any, dtype: Any = np.float32) -> str:
        """An initializer."""
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array, dtype), name))
        return name

    def normal(self, *shape: int, scale: float = 0.5) -> str:
        """A random float initializer."""
        return self.constant(self.rng.normal(0, scale, shape))

    def quantised(self, x: str, scale: float, zero: int, dtype: Any) -> str:
        """x through QuantizeLinear and DequantizeLinear."""
        pair = self.constant(scale), self.constant(zero, dtype)
        return self.put("DequantizeLinear", self.put("QuantizeLinear", x, *pair), *pair)

    def weights(
        self, integers: Any, scales: Any, axis: int = 0, dtype: Any = np.int8, zero: bool = True
    ) -> str:
        """Integers through DequantizeLinear, one scale or one per slice of `axis`."""
        scales = np.asarray(scales, np.float32)
        extra = [self.constant(np.zeros(scales.shape), dtype)] if zero else []
        attributes = {"axis": axis} if scales.ndim else {}
        return self.put(
            "DequantizeLinear", self.constant(integers, dtype), self.constant(scales), *extra, **attributes
        )

    def model(self, *outputs: str, infer: bool = True) -> onnx.ModelProto:
        """The model with these outputs, typed by shape inference (which crashes on some bad models)."""
        bare = [onnx.ValueInfoProto(name=name) for name in outputs]
        graph = helper.make_graph(self.nodes, "net", self.inputs, bare, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)
        known = {}
        if infer:
            inferred = shape_inference.infer_shapes(model).graph
            typed = [*inferred.value_info, *inferred.output]
            known = {v.name: v for v in typed if v.type.tensor_type.HasField("shape")}
        del model.graph.output[:]
        for name in outputs:
            anything = helper.make_tensor_value_info(name, FLOAT, [None, None])
            model.graph.output.append(known.get(name) or anything)
        return model

    def save(self, folder: Path, *outputs: str, file: str = "net.onnx", infer: bool = True) -> Path:
        """Written to a file."""
        path = folder / file
        onnx.save(self.model(*outputs, infer=infer), str(path))
        return path


def session(model: Path | onnx.ModelProto, *, optimise: bool = False) -> Any:
    """An ONNX Runtime session on one thread."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimise else level.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.x64quantprecision", "1")
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def exposed(model: onnx.ModelProto, tensors: list[str]) -> onnx.ModelProto:
    """A copy that also returns these tensors."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    have = {o.name for o in copy.graph.output}
    copy.graph.output.extend(onnx.ValueInfoProto(name=t) for t in tensors if t not in have)
    return copy


def batched(x: NDArray[Any]) -> NDArray[Any]:
    """With a batch axis of one."""
    return x[None]
