# SPDX-License-Identifier: Apache-2.0
"""Everything in a model that cannot be compiled, in one error: what, why, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import onnx

from ..errors import CompileError
from ..ops import BY_ONNX
from .expansions import EXPANSIONS, REMEDIES
from .model_file import input_errors

SUPPORTED = tuple(sorted({*(op for op in BY_ONNX if "." not in op), *(op for _, op in EXPANSIONS)}))
QUANTISERS = {"DequantizeLinear", "QuantizeLinear"}
STANDARD = "an export in standard ONNX ops (QDQ form)"
ELSEWHERE = "supported ops in its place, or this part outside of the network"
FUNCTION = "Relu, LeakyRelu, Elu, HardSwish, HardSigmoid, Sigmoid, Tanh, Softplus or Gelu in its place"
NORMALISATION = "BatchNormalization, which becomes part of the weights"
RECURRENT = "convolutions, or one step with the state as an input and an output, written in supported ops"
COMMON = {  # what exporters write, and what would do instead
    **dict.fromkeys(("GRU", "LSTM", "RNN"), RECURRENT),
    **dict.fromkeys(("LayerNormalization", "InstanceNormalization", "GroupNormalization"), NORMALISATION),
    **dict.fromkeys(("RMSNormalization", "LpNormalization", "MeanVarianceNormalization"), NORMALISATION),
    **dict.fromkeys(("Selu", "Celu", "Softsign", "Mish", "ThresholdedRelu"), FUNCTION),
    **dict.fromkeys(("Exp", "Log", "Sin", "Cos", "Swish", "Sqrt"), FUNCTION),
    **dict.fromkeys(("If", "Loop", "Scan"), "an export without control flow"),
    "LogSoftmax": "Softmax, or what it reads where only the order counts",
    **dict.fromkeys(("Hardmax", "TopK"), "ArgMax as the last op"),
}


@dataclass(frozen=True)
class Problem:
    """A node or input that cannot be compiled, and what to do about it."""

    node: str
    found: str
    remedy: str


class UnsupportedModel(CompileError):
    """Everything unsupported in a model, at once."""

    def __init__(self, path: str, problems: Sequence[Problem], *, inputs: bool = False) -> None:
        self.problems = problems
        listed = " | ".join(
            f"{p.node}: {p.found}" + (f" (try {p.remedy})" if p.remedy else "") for p in problems
        )
        what = "input(s) and node(s)" if inputs else "node(s)"
        super().__init__(
            path,
            f"{len(problems)} unsupported {what}: {listed}",
            "supported ops only",
            f"tinybound inspect; supported are {', '.join(SUPPORTED)}",
        )
        self.details = {"unsupported": [asdict(problem) for problem in problems]}


def node_name(node: onnx.NodeProto) -> str:
    """Its own, or one of its op and its first output, if it has any."""
    return node.name or "_".join((node.op_type, *node.output[:1]))


def remedy_for(domain: str, op: str) -> str:
    """What to do about an op that is not supported."""
    if (domain, op) in REMEDIES:
        return REMEDIES[domain, op]
    return STANDARD if domain else COMMON.get(op, ELSEWHERE)


def unknown_ops(model: onnx.ModelProto) -> Iterator[Problem]:
    """Nodes of types that nothing here reads, for a model whose shapes are not known: constants excepted."""
    constants = {tensor.name for tensor in model.graph.initializer}
    for node in model.graph.node:
        if {*node.input} - {""} <= constants or node.op_type == "Shape":
            constants |= {*node.output}
        elif problem := unknown_op(node):
            yield problem


def unknown_op(node: onnx.NodeProto) -> Problem | None:
    """The op of a node, where it is of a type that nothing here reads."""
    domain, op = node.domain.removeprefix("ai.onnx"), node.op_type
    if (domain, op) in EXPANSIONS or (not domain and op in {*BY_ONNX, *QUANTISERS, "Identity"}):
        return None
    return Problem(node_name(node), f"op {f'{node.domain}.{op}' if domain else op}", remedy_for(domain, op))


def refuse_inputs(model: onnx.ModelProto, path: Path) -> None:
    """CompileError for inputs that are not as they must be; with them whatever op is not known either."""
    errors = input_errors(model)
    problems = [Problem(error.where, error.found, error.remedy or error.expected) for error in errors]
    if not errors:
        return
    problems += unknown_ops(model)
    raise errors[0] if len(problems) == 1 else UnsupportedModel(str(path), problems, inputs=True)
