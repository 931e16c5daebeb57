# SPDX-License-Identifier: Apache-2.0
"""The op set: one file per op, one line here."""

from __future__ import annotations

from .add import Add
from .argmax import ArgMax
from .average_pool import AveragePool
from .base import Op
from .channel_affine import ChannelAffine
from .clip import Clip
from .concat import Concat
from .conv import Conv
from .curve import Curve
from .dense import Dense
from .elu import Elu
from .erf import Erf
from .function import Table
from .gelu import Gelu
from .hard_sigmoid import HardSigmoid
from .hard_swish import HardSwish
from .leaky_relu import LeakyRelu
from .mat_mul import MatMul
from .max_pool import MaxPool
from .mul import Mul
from .requantise import Requantise
from .reshape import Reshape
from .sigmoid import Sigmoid
from .sign import Sign
from .softmax import Softmax
from .softplus import Softplus
from .take import Take
from .tanh import Tanh
from .transpose import Transpose
from .trunc import Trunc

OPS: tuple[type[Op], ...] = (
    Add,
    ArgMax,
    AveragePool,
    ChannelAffine,
    Clip,
    Concat,
    Conv,
    Curve,
    Dense,
    Elu,
    Erf,
    Gelu,
    HardSigmoid,
    HardSwish,
    LeakyRelu,
    MatMul,
    MaxPool,
    Mul,
    Requantise,
    Reshape,
    Sigmoid,
    Sign,
    Softmax,
    Softplus,
    Table,
    Take,
    Tanh,
    Transpose,
    Trunc,
)
BY_NAME = {op.__name__: op for op in OPS}
BY_ONNX = {name: op for op in OPS for name in op.onnx}

__all__ = [
    "BY_NAME",
    "BY_ONNX",
    "OPS",
    "Add",
    "ArgMax",
    "AveragePool",
    "ChannelAffine",
    "Clip",
    "Concat",
    "Conv",
    "Curve",
    "Dense",
    "Elu",
    "Erf",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "LeakyRelu",
    "MatMul",
    "MaxPool",
    "Mul",
    "Op",
    "Requantise",
    "Reshape",
    "Sigmoid",
    "Sign",
    "Softmax",
    "Softplus",
    "Table",
    "Take",
    "Tanh",
    "Transpose",
    "Trunc",
]
