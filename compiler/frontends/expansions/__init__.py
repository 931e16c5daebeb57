# SPDX-License-Identifier: Apache-2.0
"""ONNX nodes that are written as several simpler ones before the ops parse themselves.

An expansion gets a Site, puts nodes and returns True, or returns False: the node stands as it is. What it
puts may be expanded again. To add one: one function in a file of its subject, one line here.
"""

from __future__ import annotations

from .activations import absolute, prelu
from .elementwise import elementwise, neg, power
from .integer_sums import integer_sum, of_sum
from .joins import concat
from .limits import extremum
from .lines import line
from .moves import cast, dropout, flatten, reshape, squeeze, transpose
from .pools import global_max_pool, reduce, uneven_pool
from .products import gemm, matmul
from .qonnx import QONNX, QONNX_REMEDIES
from .qoperator import QOPERATOR, QOPERATOR_REMEDIES
from .rows import argmax, softmax
from .site import Expansion, Site
from .spaces import depth_to_space, resize, space_to_depth
from .takes import expand, gather, pad, slice_, split, tile
from .transposed import conv_transpose

EXPANSIONS: dict[tuple[str, str], Expansion] = {  # (domain, op type)
    ("", "Abs"): absolute,
    ("", "Add"): elementwise,
    ("", "ArgMax"): argmax,
    ("", "AveragePool"): uneven_pool,
    ("", "BatchNormalization"): line,
    ("", "Cast"): cast,
    ("", "Concat"): concat,
    ("", "Conv"): line,
    ("", "ConvInteger"): integer_sum,
    ("", "ConvTranspose"): conv_transpose,
    ("", "DepthToSpace"): depth_to_space,
    ("", "Div"): elementwise,
    ("", "Dropout"): dropout,
    ("", "Expand"): expand,
    ("", "Flatten"): flatten,
    ("", "Gather"): gather,
    ("", "Gemm"): gemm,
    ("", "GlobalAveragePool"): line,
    ("", "GlobalMaxPool"): global_max_pool,
    ("", "MatMul"): matmul,
    ("", "MatMulInteger"): integer_sum,
    ("", "Max"): extremum,
    ("", "MaxPool"): uneven_pool,
    ("", "Min"): extremum,
    ("", "Mul"): elementwise,
    ("", "Neg"): neg,
    ("", "PRelu"): prelu,
    ("", "Pad"): pad,
    ("", "Pow"): power,
    ("", "ReduceMax"): reduce,
    ("", "ReduceMean"): reduce,
    ("", "ReduceSum"): reduce,
    ("", "Reshape"): reshape,
    ("", "Resize"): resize,
    ("", "Slice"): slice_,
    ("", "SpaceToDepth"): space_to_depth,
    ("", "Softmax"): softmax,
    ("", "Split"): split,
    ("", "Squeeze"): squeeze,
    ("", "Sub"): elementwise,
    ("", "Tile"): tile,
    ("", "Transpose"): transpose,
    ("", "Unsqueeze"): squeeze,
    ("", "Upsample"): resize,
    **QOPERATOR,
    **QONNX,
}
REMEDIES = {  # ops that have no such form
    **QOPERATOR_REMEDIES,
    **QONNX_REMEDIES,
}

__all__ = ["EXPANSIONS", "REMEDIES", "Site", "of_sum"]
