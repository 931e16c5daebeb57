# SPDX-License-Identifier: Apache-2.0
"""How a Requantise rounds: the names of the modes, whose law is docs/semantics.md."""

from __future__ import annotations

HALF_EVEN = "half-even"
SINGLE = "tflite-single"
DOUBLE = "tflite-double"
AVERAGE = "tflite-average"  # of an average pool that keeps its quantisation, in the last two
MEAN = "half-even-mean"  # of a mean whose halves no multiplier of ours meets exactly
MODES = {"onnx": HALF_EVEN, SINGLE: SINGLE, DOUBLE: DOUBLE}  # `--requant` -> how a Requantise rounds
MEAN_BITS = 15  # of a fraction, which the first rounding of a mean leaves
