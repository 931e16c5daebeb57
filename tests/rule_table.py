# SPDX-License-Identifier: Apache-2.0
"""Every rule of the prover and of the checker, and what shows that it is needed: on that network (of
test_rules.py) some exact value leaves its ranges once the rule returns less than it proves.

A rule that is missing here fails the tests: so does one that is made wrong and not noticed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import rule_hand as hand
from rule_windows import WINDOWS

SHOWN = {  # network -> rules whose result is made narrower (rule_mutants.less)
    "border0": """
        domains.pair_float: down up total above
        domains.pair_box: Box.reshape Box.meet Box.tighten centre
        domains.pair_vertex: Vertices.spread Vertices._evaluate _points activation
        domains.pair: Units.steps Rounding.envelope Entry.box Entry.envelope
        domains.pair_interval: PairInterval.enter PairInterval.affine PairInterval.requantise
            PairInterval.ranges stepped scaled_up _around PairInterval.reshape
        domains.pair_forms: Forms.reshape Forms.rows Forms.sizes Forms.concretise Forms.known changed
            reduced
        domains.pair_score: Best.change
        domains.pair_zonotope: PairZonotope.enter PairZonotope.reshape PairZonotope.affine
            PairZonotope.requantise PairZonotope.ranges PairZonotope.gained PairZonotope.step
            PairZonotope._change PairZonotope._finish
        domains.pair_product: PairProduct.enter PairProduct.reshape PairProduct.affine
            PairProduct.requantise PairProduct.ranges met
        domains.pair_back: Total.add Total.bound Linear._times
        domains.pair_window: upper_bounds
        domains.pair_lines: Bent._across _clips
        domains.pair_crown: PairCrown.enter PairCrown.reshape PairCrown.affine PairCrown.requantise
            PairCrown.ranges PairCrown._refined PairCrown._narrowed PairCrown._passed
    """,
    "border1": """
        domains.pair_float: below
    """,
    "zoo2": """
        domains.pair_table: Pointwise.noise
    """,
    "zoo3": """
        domains.pair_float: lattice
        domains.pair_box: Box.gather
        domains.pair: Units.integers Rounding.ends Entry.integers
        domains.pair_interval: PairInterval.max PairInterval.gather
        domains.pair_forms: Forms.gather
        domains.pair_pool: maximum
        domains.pair_zonotope: PairZonotope.gather PairZonotope.max
        domains.pair_product: PairProduct.gather PairProduct.max
        domains.pair_back: Moved._sums
        domains.pair_crown: PairCrown.gather PairCrown.max
    """,
    "zoo19": """
        domains.pair_box: Box.concat
        domains.pair_crown: PairCrown._larger
    """,
    "zoo5": """
        domains.pair_interval: PairInterval.add _weighted
        domains.pair_zonotope: PairZonotope.add
        domains.pair_product: PairProduct.add
        domains.pair_crown: PairCrown.add
    """,
    "zoo6": """
        domains.pair: cut
        domains.pair_interval: PairInterval.truncate
        domains.pair_zonotope: PairZonotope.truncate
        domains.pair_product: PairProduct.truncate
        domains.pair_crown: PairCrown.truncate
    """,
    "zoo10": """
        domains.pair_interval: PairInterval.table
        domains.pair_table: Pointwise.reach Pointwise.box Pointwise.rest Pointwise.against slopes
        domains.extremes: between
        domains.pair_zonotope: PairZonotope.table
        domains.pair_product: PairProduct.table
        domains.pair_crown: PairCrown.table
    """,
    "leaky": """
        domains.pair_table: Pointwise.value
    """,
    "products0": """
        domains.pair_interval: PairInterval.concat
        domains.pair_forms: joined
        domains.pair_multiply: linear multiplied
        domains.pair_zonotope: PairZonotope.multiply PairZonotope.concat
        domains.pair_product: PairProduct.concat
        domains.pair_crown: PairCrown.concat
    """,
    "point9": """
        domains.pair_interval: PairInterval.multiply
        domains.pair_multiply: product _times
        domains.pair_product: PairProduct.multiply
        domains.pair_crown: PairCrown.multiply
    """,
    "cells": """
        certify.linear: Form.radius linear product absolute _affine _clip
        certify.points: points _real
        certify.cells: Numpy.linear Numpy.points Cells._part _Known.points ends_of
    """,
    "between": """
        certify.between: State.wide sums_of bounds_of entered summed rounded chord _diagonal
    """,
    "counted": """
        certify.gaps: Forms.each gap
    """,
    "checked between": """
        checker.between: _Side.far _Twin.far _Twin.alone bound _bound _entered _summed _spread
            _rounded _chord _sizes
    """,
    "build0": """
        checker.rounding: up down total below above lattice moved
        checker.forms: tighten meet Form.gather Form.reshape Form.rows Form.sums Form.radius Form.box
            Form.reduced Change.of
        checker.relax: Corners.spread chord Choice.change choose_step
        checker.analysis: State.gather State.reshape
            Analysis._apply Analysis._enter Analysis._step Analysis._met Analysis._changed Analysis._sum
            Analysis._affine
            Analysis._products Analysis._requantise
        checker.backward: Tape.narrowed upper
        checker.nodes: Sum.add
        checker.bends: _Bend.back _Bend._over_x
        checker.crown: Crown._enter Crown._apply Crown._sum Crown._summed Crown._narrowed
        checker.envelopes: quantised rounding stepped centre around
    """,
    "build1": """
        checker.tables: Pointwise._over Pointwise.rest Pointwise.against
        checker.analysis: Analysis._table
    """,
    "build2": """
        checker.analysis: Analysis._maximum
    """,
    "build3": """
        checker.pools: Maximum.choose
    """,
    "build5": """
        checker.analysis: Analysis._add
    """,
    "build7": """
        checker.envelopes: scaled
    """,
    "build6": """
        checker.analysis: Analysis._truncate
        checker.envelopes: cleared
    """,
    "moving": """
        checker.products: product _range Middles.rest linear
        checker.analysis: Analysis._multiply Analysis._concat
    """,
    "checked products": """
        checker.analysis: Analysis._rows Analysis._moved
    """,
    "point1": """
        checker.tables: Pointwise.value Pointwise.forms
    """,
    "softmax": """
        domains.exponentials: probabilities
        domains.pair_softmax: Itself._after Shares.box moved
        domains.pair_interval: PairInterval.softmax
        domains.pair_zonotope: PairZonotope.softmax
        domains.pair_product: PairProduct.softmax
        domains.pair_crown: PairCrown.softmax
    """,
    "checked softmax": """
        checker.shares: real_span Share.box _moved
        checker.analysis: Analysis._share
    """,
    "differences": """
        domains.pair_crown: difference
    """,
    "checked larger": """
        checker.crown: Crown._larger
    """,
    "joint": """
        domains.pair_joint: _mixed _norm _rounded
    """,
    "checked joint": """
        checker.together: Together.most _bilinear largest off_by
    """,
    "checked cells": """
        checker.lines: _State.wide lines _summed _times _activated _symbols
        checker.cells: enumerated _worst _gaps _borders
        checker.chain: Chain.real
    """,
}

ZERO = hand.times(0.0)
BY_HAND: dict[str, tuple[str, Any]] = {  # rule -> network, and how it is made wrong
    "domains.pair_float.slack": ("sums", hand.nothing),
    "domains.pair_float.rounded": ("border0", hand.floor),
    "domains.pair_float.scaled": ("point9", hand.inexact),
    "domains.pair_float.multiples": ("cells", lambda true: lambda n, unit: true(n - 1, unit)),
    "domains.pair.farthest": ("border0", hand.quarter),
    "domains.pair_pool._differences": ("zoo3", hand.no_gaps),
    "domains.pair_multiply.Around.rest": ("products4", hand.narrower),
    "domains.pair_score.Best.offer": ("border0", hand.no_offer),
    "domains.pair_back.reach": ("rows", ZERO),
    "domains.pair_back.Total.pay": ("rows", hand.silent),
    "domains.pair_back.Rows.at": ("products0", hand.narrower),
    "domains.pair_back.Rows.plus": ("zoo5", hand.one_reader),
    "domains.pair_back.Root.back": ("border0", hand.middle),
    "domains.pair_back.Moved.back": ("zoo3", hand.narrower),
    "domains.pair_back.Moved.__init__": ("zoo3", hand.after(_order=lambda v: np.roll(v, 1))),
    "domains.pair_back.Joined.back": ("products0", hand.narrower),
    "domains.pair_back.Joined.__init__": ("products0", hand.after(_places=hand.first_of_each)),
    "domains.pair_back.Linear.back": ("point9", hand.narrower),
    "domains.pair_back.Scaled.back": ("zoo3", hand.narrower),
    "domains.pair_back.Scaled.__init__": (
        "zoo5", hand.after(_factors=lambda v: [(r, 0.9 * d, e) for r, d, e in v])
    ),
    "domains.pair_lines.Bent.back": ("border0", hand.narrower),
    "domains.pair_lines.bent_step": ("border0", hand.planes_at_middles),
    "domains.pair_lines.largest": ("zoo3", hand.planes_at_middles),
    "domains.pair_lines.bent_table": ("zoo10", hand.planes_at_middles),
    "domains.pair_single.noise": ("single", hand.no_noise),
    "domains.pair_single.wider": ("single", hand.same),
    "domains.pair_single.largest": ("magnitudes", hand.no_noise),
    "domains.pair_interval.PairInterval.blurred": ("single", hand.same_state),
    "domains.pair_zonotope.PairZonotope.blurred": ("single", hand.same_state),
    "domains.pair_product.PairProduct.blurred": ("single", hand.same_state),
    "domains.pair_crown.PairCrown.blurred": ("single", hand.same_state),
    "domains.pair_back.Blurred.__init__": ("blurred rows", hand.after(_by=lambda v: 0 * v)),
    "domains.pair_back.Blurred.back": ("blurred rows", hand.same_rows),
    **WINDOWS,
    "checker.together.Together.__init__": ("checked joint", hand.after(m=lambda v: 0.05 * v)),
    "checker.together.together": ("checked joint", hand.smaller),
    "certify.single.deviations": ("single cells", ZERO),
    "certify.linear.forms": ("cells", hand.without_bias),
    "certify.linear._with_symbols": ("cells", hand.same_symbols),
    "certify.points._whole": ("cells", hand.next_integer),
    "certify.points.errors": ("floats", ZERO),
    "certify.cells.Cells.__init__": ("cells", hand.after(low=lambda v: v + 1e-3, high=lambda v: v - 1e-3)),
    "certify.cells.Cells.bounds": ("cells", hand.less_bound),
    "certify.gaps.by_states": ("counted", hand.less_gaps),
    "certify.cells.cells_of": ("cells", hand.last_is_first),
    "checker.rounding.slack": ("checked sums", hand.nothing),
    "checker.rounding.times": ("build0", hand.inexact),
    "checker.rounding.quotient": ("build0", hand.next_integer),
    "checker.rounding.rounded": ("build0", hand.floor),
    "checker.forms.Pad.of": ("padded", hand.no_padding),
    "checker.single.reach": ("checked magnitudes", ZERO),
    "checker.single.entered": ("checked magnitudes", ZERO),
    "checker.single.drifted": ("checked single", hand.same),
    "checker.analysis.Analysis._in_single": ("checked single", hand.same_state),
    "checker.analysis.Analysis._blurred": ("checked single", hand.same_state),
    "checker.crown.Crown._blurred": ("checked single", hand.same_state),
    "checker.backward.Tape.blurred": ("checked single", hand.lighter),
    "checker.lines.drift": ("checked single cells", ZERO),
    "checker.relax.Choice.offer": ("build0", hand.no_offer),
    "checker.relax.Corners.__init__": ("build0", hand.after(sides=lambda v: [hand.few(side) for side in v])),
    "checker.tables.Pointwise.__init__": ("build1", hand.after(rho=hand.less, box=hand.less)),
    "checker.pools.Maximum.__init__": ("build2", hand.after(box=hand.less)),
    "checker.pools.Maximum._gaps": ("taps", hand.no_gaps),
    "checker.products.Middles.__init__": ("moving", hand.after(r=lambda v: 0 * v)),
    "checker.pairs._affine": ("build0", hand.result(e=lambda v: 0 * v)),
    "checker.pairs._rounding": ("build0", hand.result(limits=lambda v: (-np.inf, np.inf))),
    "checker.pairs._span": ("build0", lambda true: lambda *args: tuple(end // 3 for end in true(*args))),
    "checker.envelopes.Entry.quantised": ("build0", hand.next_integer),
    "checker.nodes._at_ranges": ("build0", hand.at_middles),
    "checker.nodes.magnitude": ("checked rows", ZERO),
    "checker.nodes.Sum.pay": ("checked rows", hand.silent),
    "checker.backward.Tape.moved": ("build3", hand.lighter),
    "checker.backward.Tape.joined": ("moving", hand.lighter),
    "checker.backward.Tape.affine": ("build0", hand.lighter),
    "checker.backward.Tape.blended": ("build3", hand.lighter),
    "checker.backward.Tape.bent": ("build0", hand.lighter),
    "checker.bends._Bend.__init__": ("build0", hand.after(above=lambda v: (v[0], v[1] - 0.1))),
    "checker.crown.Crown._place": ("build0", hand.lighter),
    "checker.crown.Crown._bent": ("build0", hand.lighter),
    "checker.crown.Crown._requantised": ("build0", hand.lighter),
    "checker.crown.Crown._windows": ("build3", hand.lighter),
    "checker.crown.Crown._largest": ("build3", hand.lighter),
    "checker.crown.Crown._multiply": ("moving", hand.lighter),
    "checker.crown.Crown._moved": ("checked products", hand.lighter),
    "checker.pairs._rows": ("checked products", lambda true: lambda *args: hand.fewer(true(*args))),
    "checker.crown.Crown._concatenated": ("moving", hand.lighter),
    "checker.crown.Crown._pointwise": ("build1", hand.lighter),
    "checker.between._Twin.y": ("checked between", lambda true: lambda both: (true(both)[0], 0.0)),
    "checker.laws.Law.__init__": ("checked halves", hand.after(w=lambda w: 0.5 * w)),
    "checker.laws.Law._of": ("checked halves", hand.next_integer),
    "checker.laws.Law.settle": ("checked halves", hand.silent),
    "checker.cells._integers": ("checked cells", hand.without_last),
    "checker.chain.Chain.whole": ("checked cells", hand.next_integer),
    "checker.chain.Chain.off": ("checked floats", ZERO),
}  # fmt: skip
