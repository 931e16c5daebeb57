# SPDX-License-Identifier: Apache-2.0
"""Frames, expected frames and memory files of the four designs in cocotb_top.v."""

from __future__ import annotations

import hw_model as model
import numpy as np
from hw_samples import mem

FRAMES = 6
BITS = 5  # of the pool design
RNG = np.random.default_rng(11)

_weights, _bias = RNG.integers(-128, 128, (3, 3, 3, 2)), RNG.integers(-(2**14), 2**14, 3)
_multipliers = [301, 97, 512]
_pool, _index = RNG.integers(-128, 128, (64, 8)), RNG.integers(0, 64, (3, 1, 3, 2))
_vectors = _pool[_index].reshape(3, 1, 3, 16)
_pool_bias = RNG.integers(-(2**14), 2**14, 3)
_subsets = (np.arange(256)[:, None] >> np.arange(8)) & 1

FILES = {
    "layer.weight.mem": mem(_weights, 8),
    "layer.bias.mem": mem(_bias, 24),
    "layer.multiplier.mem": mem(_multipliers, 31),
    "pool.index.mem": mem(_index, 6),
    "pool.table.mem": mem(_subsets @ _pool.T, 12),
    "pool.bias.mem": mem(_pool_bias - (128 + 5) * _vectors.sum(axis=(1, 2, 3)), 24),
}


def _layer(x: np.ndarray) -> np.ndarray:
    acc = model.affine(model.windows(x, 2, 2, 3, 3, 2, 2, 1, 1, 1, 1, -9), _weights, _bias, -9, 1)
    return model.requantise(acc, _multipliers, [16], 0, 4, -128, 127)


def _pool64(x: np.ndarray) -> np.ndarray:
    taps = model.truncate(model.windows(x, 1, 2, 1, 3, 1, 1, 1, 1, 0, 1, 5), BITS)
    return model.requantise(model.affine(taps, _vectors, _pool_bias, 5, 1), [1], [9], 0, 0, -128, 127)


def _max(x: np.ndarray) -> np.ndarray:
    return model.windows(x, 2, 3, 2, 2, 2, 2, 1, 1, 0, 1, -128).max(axis=(3, 4))


def _add(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return model.requantise((a - 3) * 5 + (b + 7) * 12, [1], [4], 0, -1, -128, 127)


def _bytes(x: np.ndarray) -> list[bytes]:
    return [frame.astype(np.int8).tobytes() for frame in x]


def _case(fn, *shapes: tuple[int, ...]) -> tuple[list[list[bytes]], list[bytes]]:
    inputs = [RNG.integers(-128, 128, (FRAMES, *shape)) for shape in shapes]
    return [_bytes(x) for x in inputs], _bytes(fn(*inputs))


# design -> (frames of each input, expected frames)
CASES = {
    "layer": _case(_layer, (4, 3, 2)),
    "pool": _case(_pool64, (1, 3, 16)),
    "max": _case(_max, (4, 5, 3)),
    "add": _case(_add, (20,), (20,)),
}
