# SPDX-License-Identifier: Apache-2.0
"""BatchNormalization, Mul and Add after each other fold into one layer with one rounding."""

from fractions import Fraction

import numpy as np

from tinybound.graph import Graph, Node, Value
from tinybound.ops import ChannelAffine, Conv
from tinybound.passes.fold_channel_affine import fold_channel_affine


def test_chained_factors_are_rounded_once():
    """Two folds after each other would round the bias twice; where terms cancel that is no small error."""
    rng = np.random.default_rng(5)
    size = (3, 2, 2)
    tiny = Fraction(1, 1 << 60)
    first = ChannelAffine.line((Fraction(1, 3),) * 3, (Fraction(10**6),) * 3)
    second = ChannelAffine.line((Fraction(1),) * 3, (-Fraction(10**6) + tiny,) * 3)
    conv = Conv(rng.normal(0, 1, (3, 3, 1, 1)), np.zeros(3), size)

    values = {name: Value(name, size) for name in "xabc"}
    nodes = tuple(Node(str(i), op, ("xab"[i],), "abc"[i]) for i, op in enumerate((conv, first, second)))
    folded = fold_channel_affine(Graph("chain", ("x",), ("c",), nodes, values)).nodes

    assert [type(node.op) for node in folded] == [Conv]
    assert (folded[0].op.bias == float(tiny)).all()
    thirds = [float(Fraction(w) / 3) for w in conv.weights.ravel()]
    assert folded[0].op.weights.ravel().tolist() == thirds
