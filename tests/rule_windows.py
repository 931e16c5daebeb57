# SPDX-License-Identifier: Apache-2.0
"""Rules of windows of the tape, of prover and checker, and how each is made wrong."""

from __future__ import annotations

from typing import Any

import rule_hand as hand

WINDOWS: dict[str, tuple[str, Any]] = {  # rule -> network, and how it is made wrong
    "domains.pair_back.Root.window": ("windows", hand.made(_x=lambda v: (v[0], 0 * v[1]))),
    "domains.pair_back.Moved.window": ("windows", hand.made(_order=lambda v: v[::-1])),
    "domains.pair_back.Moved._set": ("windows", hand.after(_order=lambda v: v[::-1])),
    "domains.pair_back.Blurred.window": ("windows", hand.made(_by=lambda v: 0 * v)),
    "domains.pair_back.Joined.window": ("windows", hand.made(_places=hand.first_of_each)),
    "domains.pair_back.Linear.window": ("windows", hand.made(_w=lambda v: 0 * v)),
    "domains.pair_back.Linear.dense": ("windows", hand.made(_v=lambda v: 0 * v)),
    "domains.pair_back.Patches.window": ("windows", hand.other_places),
    "domains.pair_back.Patches.back": ("windows", hand.narrower),
    "domains.pair_back.Rows.spread": ("windows", hand.spread_backwards),
    "domains.pair_back.Scaled.window": ("windows", hand.made(_factors=lambda v: v[::-1])),
    "domains.pair_joint.Joint.among": ("windows", hand.made(rest=lambda v: v + 1)),
    "domains.pair_lines.Bent.window": ("windows", hand.made(_planes=lambda v: v[:, ::-1])),
    "domains.pair_softmax.Sums.window": ("windows", hand.made(_off=lambda v: 9 * v)),
    "domains.pair_window.Seen.__init__": ("windows", hand.after(_into=hand.reversed_places)),
    "domains.pair_window.Seen.back": ("windows", hand.narrower),
    "domains.pair_window.window": ("windows", hand.other_places),
    "checker.backward.Tape.window": ("checked windows", hand.other_places),
    "checker.backward._into": ("checked windows", hand.lighter_node),
    "checker.nodes.Sums.at": ("checked windows", hand.made(w=lambda v: 0 * v)),
    "checker.nodes.Sums.folded": ("checked windows", hand.made(v=lambda v: 0 * v)),
    "checker.together.Together.among": ("checked windows", hand.made(rest=lambda v: v + 1)),
    "checker.nodes.moved": ("build3", hand.lighter_node),
    "checker.nodes.joined": ("moving", hand.lighter_node),
    "checker.nodes.blurred": ("checked single", hand.lighter_node),
    "checker.nodes.summed": ("build0", hand.lighter_node),
    "checker.nodes.of_patches": ("checked windows", hand.lighter_node),
    "checker.nodes.blended": ("build3", hand.lighter_node),
    "checker.bends.bent": ("build0", hand.lighter_node),
    "domains.pair_joint.Joint.take": ("joint", hand.silent),
    "domains.pair_joint.joint_of": ("joint", hand.result(m=lambda v: 0.05 * v, rest=lambda v: 0.05 * v)),
}  # fmt: skip
