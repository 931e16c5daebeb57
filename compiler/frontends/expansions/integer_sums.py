# SPDX-License-Identifier: Apache-2.0
"""ConvInteger and MatMulInteger: exact sums of integers, made real by a Cast and a Mul by one constant.

before: acc = ConvInteger(q, w, q_zero, w_zero);  y = Mul(Cast(acc), c), q quantised with scale s
after:  acc = Conv(DequantizeLinear(q, s, q_zero), DequantizeLinear(w, 1, w_zero));  y = Mul(acc, c / s)

In between `acc` stands for s times the integers of the file; `sums` holds that s. A second factor that is
computed too has a scale of its own in the place of the 1, and s is their product.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from ...ops.base import Unsupported
from .site import Site

REMEDY = "a Cast and a Mul by one constant behind it, or QDQ form"


def integer_sum(site: Site) -> bool:
    """ConvInteger or MatMulInteger of a tensor whose scale is known."""
    mark = site.marks.get(site.inputs[0])
    if mark is None or mark.scale is None:
        raise Unsupported(
            f"{site.proto.op_type} of integers without a scale", "static quantisation: QuantizeLinear first"
        )
    scale, other = mark.scale.scale, site.marks.get(site.inputs[1])
    names = [*site.inputs, "", ""][:4]
    zeros = [site.given(i) for i in (2, 3) if names[i]]
    if names[2] and zeros[0] is not None and zeros[0].size != 1:
        raise Unsupported("zero points per row", "one zero point")
    if other is not None and other.scale is None:
        raise Unsupported("a second factor without a scale", "static quantisation: QuantizeLinear first")
    real_op, axis = ("Conv", 0) if site.proto.op_type == "ConvInteger" else ("MatMul", -1)
    second = other.scale.scale if other is not None and other.scale is not None else Fraction(1)
    unit, one = (site.constant(n, float(s), np.float32) for n, s in (("scale", scale), ("one", second)))
    x = site.put("DequantizeLinear", [n for n in (names[0], unit, names[2]) if n], "x")
    w = site.put("DequantizeLinear", [n for n in (names[1], one, names[3]) if n], "w", axis=axis)
    site.put(real_op, [x, w], **site.attributes)
    site.sums[site.proto.output[0]] = scale * second
    return True


def of_sum(site: Site) -> bool:
    """What reads such a sum: a Cast to floats, or the Mul that ends it."""
    op_type, out = site.proto.op_type, site.proto.output[0]
    (source,) = [i for i in site.inputs if i in site.sums]
    if op_type == "Cast" and site.get("to", 0) in (1, 11):
        site.put("Identity", [source])
        site.sums[out] = site.sums[source]
        return True
    others = [site.constants[i] for i in site.inputs if i in site.constants]
    if op_type != "Mul" or len(others) != 1 or others[0].dtype.kind != "f":
        raise Unsupported(f"{op_type} of the sums of a ConvInteger or MatMulInteger", REMEDY)
    factor = others[0].astype(np.float64) / float(site.sums[source])  # the nearest double
    site.put("Mul", [source, site.constant("factor", factor, np.float64)])
    return True
