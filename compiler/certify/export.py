# SPDX-License-Identifier: Apache-2.0
"""The merged network: one ONNX file whose output is float network - integer network, and the query that asks
for more than the certified bound. Anyone can run a verifier of their own on the two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ..errors import CompileError
from ..graph import Graph
from .certificate import Certificate, twin_of
from .merge import emit, entered
from .merge_words import DOUBLE, FLOAT, Ref, Sink

OPSET, IR = 13, 8
KINDS = {FLOAT: TensorProto.FLOAT, DOUBLE: TensorProto.DOUBLE, "int64": TensorProto.INT64}


class Writer(Sink):
    """Collects nodes and initializers of an ONNX graph."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.held: dict[tuple[Any, ...], Any] = {}

    def node(self, op: str, inputs: Sequence[str], **attributes: Any) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=f"{op}_{name}", **attributes))
        return name

    def constant(self, array: NDArray[Any]) -> str:
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self.held:
            self.held[key] = numpy_helper.from_array(np.ascontiguousarray(array), f"c{len(self.held)}")
        return str(self.held[key].name)

    def model(self, name: str, inputs: Sequence[Ref], outputs: Sequence[Ref]) -> bytes:
        """The ONNX file for inputs of batch 1."""
        ends = [
            [helper.make_tensor_value_info(x.name, KINDS[x.kind], [1, *x.shape]) for x in side]
            for side in (inputs, outputs)
        ]
        graph = helper.make_graph(self.nodes, name, ends[0], ends[1], list(self.held.values()))
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR, producer_name="tinybound")
        onnx.checker.check_model(model)
        data: bytes = model.SerializeToString()
        return data

    def cast(self, name: str, kind: str) -> str:
        return self.node("Cast", [name], to=KINDS[kind])


def merged_files(real: Graph, whole: Graph, certificate: Certificate) -> tuple[bytes, str]:
    """The merged network, and the query that asks for more than the certificate's bounds over its box."""
    domain = certificate.fields["domain"]
    lower, upper = (
        {name: [Fraction(end) for end in domain[name][side]] for name in whole.inputs}
        for side in ("lower", "upper")
    )
    bounds = [float(b) for name in _bounded(certificate.values) for b in certificate.bound[name].ravel()]
    note = f"{whole.name}: Y = float network - integer network, for its merged ONNX file"
    return merged_model(real, whole, certificate.values), query(lower, upper, bounds, note)


def _bounded(values: Mapping[str, str]) -> list[str]:
    """The values that are bounded, each once, in the order of outputs."""
    return list(dict.fromkeys(values.values()))


def merged_model(real: Graph, whole: Graph, values: Mapping[str, str]) -> bytes:
    """The ONNX file; `values`: output -> the value that is bounded, in the order of `difference`.

    The float side is float32, as networks are run; the integer side float64 (Conv in float32 where that is
    exact, split into exact parts elsewhere), so it gives the golden model's integers, and so is the output.
    """
    out = Writer()
    inputs = {name: Ref(name, whole.values[name].shape, FLOAT) for name in whole.inputs}
    floats = emit(out, real, inputs)
    integers = emit(out, whole, {name: entered(out, whole.values[name], x) for name, x in inputs.items()})
    parts = []
    for value in _bounded(values):
        quant, twin = whole.values[value].quant, twin_of(real, whole, value)
        assert quant is not None
        q = integers[value].name
        if quant.zero:
            q = out.node("Sub", [q, out.constant(np.array(quant.zero, np.float64))])
        y = out.node("Mul", [q, out.constant(np.array(float(quant.scale[0])))])
        gap = out.node("Sub", [out.cast(floats[twin].name, DOUBLE), y])
        parts.append(out.node("Reshape", [gap, out.constant(np.array([-1, integers[value].size]))]))
    total = sum(integers[value].size for value in _bounded(values))
    out.nodes.append(helper.make_node("Concat", parts, ["difference"], name="difference", axis=1))
    return out.model(f"{whole.name}_merged", list(inputs.values()), [Ref("difference", (total,), DOUBLE)])


def query(
    lower: Mapping[str, Sequence[Fraction]],
    upper: Mapping[str, Sequence[Fraction]],
    bounds: Sequence[float],
    note: str,
) -> str:
    """VNN-LIB: inputs in the box, and some output at or beyond its bound. `unsat` confirms the certificate.

    X_i counts the elements of all inputs in order, Y_j those of `difference`. Numbers are exact decimals.
    """
    ends = [pair for name in lower for pair in zip(lower[name], upper[name], strict=True)]
    lines = [f"; {note}", "; unsat: no input in the box has a difference as large as its bound", ""]
    lines += [f"(declare-const X_{i} Real)" for i in range(len(ends))]
    lines += [f"(declare-const Y_{j} Real)" for j in range(len(bounds))]
    for i, (low, high) in enumerate(ends):
        lines += [f"(assert (>= X_{i} {decimal(low)}))", f"(assert (<= X_{i} {decimal(high)}))"]
    lines.append("(assert (or")
    for j, bound in enumerate(bounds):
        text = decimal(Fraction(bound))
        lines += [f"    (and (>= Y_{j} {text}))", f"    (and (<= Y_{j} -{text}))"]
    return "\n".join([*lines, "))", ""])


def decimal(value: Fraction) -> str:
    """A dyadic rational in exact decimal digits."""
    power = value.denominator.bit_length() - 1
    if value.denominator != 1 << power:
        raise CompileError("--export-merged", f"an end of the box, {value}", "one with finitely many digits")
    digits = str(abs(value.numerator) * 5**power).rjust(power + 1, "0")
    whole, rest = (digits[:-power], digits[-power:]) if power else (digits, "")
    text = f"{whole}.{rest}".rstrip("0") + "0" if not rest.strip("0") else f"{whole}.{rest}".rstrip("0")
    return f"-{text}" if value < 0 else text
