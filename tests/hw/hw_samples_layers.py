# SPDX-License-Identifier: Apache-2.0
"""Samples of the blocks with a window: affine with every code, pool64, maxpool."""

from __future__ import annotations

from collections.abc import Iterator

import hw_model as model
import numpy as np
from hw_samples import M_PORT, Sample, frames, instance, mem, s_port, stream


def geometry(h, w, c, o, kh, kw, sh=1, sw=1, dh=1, dw=1, pads=(0, 0, 0, 0), groups=1) -> dict[str, int]:
    """Parameters of tb_window; pads are top, left, bottom, right."""
    oh = (h + pads[0] + pads[2] - (kh - 1) * dh - 1) // sh + 1
    ow = (w + pads[1] + pads[3] - (kw - 1) * dw - 1) // sw + 1
    return {
        "H": h,
        "W": w,
        "C": c,
        "OH": oh,
        "OW": ow,
        "O": o,
        "KH": kh,
        "KW": kw,
        "SH": sh,
        "SW": sw,
        "DH": dh,
        "DW": dw,
        "PT": pads[0],
        "PL": pads[1],
        "GROUPS": groups,
    }


def taps(x: np.ndarray, g: dict[str, int], pad: int) -> np.ndarray:
    """model.windows on the parameters of tb_window."""
    return model.windows(
        x, *(g[k] for k in ("OH", "OW", "KH", "KW", "SH", "SW", "DH", "DW", "PT", "PL")), pad
    )


GEOMETRIES = {
    "plain": geometry(5, 4, 3, 5, 3, 3, pads=(1, 1, 1, 1)),
    "strided": geometry(7, 6, 2, 3, 3, 2, 2, 3, 1, 2, pads=(2, 0, 1, 3)),
    "dilated": geometry(6, 7, 1, 2, 2, 3, 1, 2, 3, 2, pads=(0, 3, 2, 1)),
    "pointwise": geometry(3, 4, 5, 7, 1, 1),
    "grouped": geometry(4, 5, 6, 4, 3, 3, groups=2, pads=(1, 0, 1, 2)),
    "depthwise": geometry(5, 5, 4, 8, 3, 3, 2, 2, groups=4, pads=(0, 0, 1, 1)),
    "line": geometry(1, 12, 3, 4, 1, 5, 1, 2, pads=(0, 2, 0, 2)),
    "padded": geometry(2, 2, 2, 3, 5, 5, pads=(3, 3, 3, 3)),
    "sparse": geometry(9, 9, 1, 2, 2, 2, 5, 5),
    "dense": geometry(1, 1, 37, 11, 1, 1),
    "single": geometry(1, 1, 1, 1, 1, 1),
}


def affine_samples() -> Iterator[Sample]:
    """Codes int8, int4, pot4 and ones over GEOMETRIES."""
    settings = [
        ("int8", name, zero, bits)
        for name, zero, bits in (
            ("plain", -5, 8),
            ("strided", 127, 8),
            ("dilated", -128, 8),
            ("pointwise", 0, 8),
            ("grouped", 3, 3),
            ("depthwise", -7, 8),
            ("line", 11, 5),
            ("padded", 100, 8),
            ("sparse", 1, 8),
            ("dense", -1, 2),
            ("single", 127, 8),
        )
    ]
    settings += [
        ("int4", name, zero, bits)
        for name, zero, bits in (
            ("plain", 127, 8),
            ("strided", -6, 8),
            ("grouped", -128, 3),
            ("depthwise", 5, 8),
            ("dense", -9, 8),
            ("single", -128, 8),
        )
    ]
    settings += [
        ("pot4", name, zero, bits)
        for name, zero, bits in (
            ("plain", 4, 8),
            ("strided", -128, 8),
            ("grouped", -3, 4),
            ("depthwise", 127, 8),
            ("dense", 9, 8),
        )
    ]
    for number, (code, name, zero, bits) in enumerate(settings):
        rng = np.random.default_rng(number)
        g = GEOMETRIES[name]
        shape = (g["O"], g["KH"], g["KW"], g["C"] // g["GROUPS"])
        if code == "int8":
            words = rng.integers(-128, 128, shape)
            words.flat[:2] = (-128, 0)[: words.size]
            weights, width = words, 8
        elif code == "int4":
            words = rng.integers(-8, 8, shape)
            words.flat[:3] = (-8, 7, 0)[: words.size]
            weights, width = words, 4
        else:
            words = rng.integers(0, 16, shape)
            words.flat[:4] = (8, 0, 15, 7)  # minus zero, zero, -64, 64
            e = words % 8
            weights, width = np.where(e == 0, 0, 1 << np.maximum(e - 1, 0)) * np.where(words >= 8, -1, 1), 4
        bias = rng.integers(-(2**18), 2**18, g["O"])
        yield _affine(
            f"{code}-{name}",
            code,
            g,
            zero,
            bits,
            24 if name != "dense" else 32,
            weights,
            bias,
            {"weight": mem(words, width)},
            rng,
        )
    pools = {
        "two": geometry(6, 4, 3, 3, 2, 2, 2, 2, groups=3),
        "padded": geometry(5, 5, 2, 2, 3, 3, 2, 2, groups=2, pads=(1, 1, 1, 1)),
        "global": geometry(4, 4, 5, 5, 4, 4, groups=5),
    }
    for number, (name, g) in enumerate(pools.items()):
        rng = np.random.default_rng(100 + number)
        weights = np.ones((g["O"], g["KH"], g["KW"], 1), np.int64)
        yield _affine(
            f"ones-{name}",
            "ones",
            g,
            (-128, 127, 5)[number],
            8,
            17,
            weights,
            np.zeros(g["O"], np.int64),
            {},
            rng,
        )


def _affine(name, code, g, zero, bits, acc_w, weights, bias, files, rng) -> Sample:
    files = dict(files, bias=mem(bias, acc_w)) if code != "ones" else {}
    names = {f"{kind.upper()}_FILE": f"{name}.{kind}.mem" for kind in files}
    x = frames(rng, (g["H"], g["W"], g["C"]))

    def expect(_: list[int]) -> np.ndarray:
        q = model.truncate(taps(x, g, zero), bits)
        return model.affine(q, weights, bias, zero, g["GROUPS"]).reshape(len(x), -1)

    params = {**g, "ZERO_IN": zero, "BITS": bits, "ACC_W": acc_w, "CODE": code, **names}
    return Sample(
        name,
        instance("tb_affine", "dut", params, f"{s_port(8)}, {M_PORT}"),
        acc_w,
        {f"{name}.{kind}.mem": text for kind, text in files.items()},
        x.reshape(len(x), -1),
        expect,
    )


def pool_samples() -> Iterator[Sample]:
    """Bit-serial pool layers."""
    settings = {
        "conv": (geometry(4, 3, 16, 5, 3, 3, pads=(1, 1, 1, 1)), -5),
        "strided": (geometry(5, 6, 8, 3, 3, 2, 2, 2, 1, 2, pads=(2, 0, 0, 3)), 127),
        "grouped": (geometry(3, 3, 32, 4, 1, 1, groups=2), -128),
        "line": (geometry(1, 9, 8, 2, 1, 3, 1, 2, pads=(0, 1, 0, 1)), 6),
        "dense": (geometry(1, 1, 64, 10, 1, 1), 0),
        "single": (geometry(1, 1, 8, 1, 1, 1), 3),
    }
    rng = np.random.default_rng(7)
    pool = rng.integers(-128, 128, (64, 8))
    pool[0], pool[1], pool[2] = 0, -128, 127
    subsets = (np.arange(256)[:, None] >> np.arange(8)) & 1
    table = mem(subsets @ pool.T, 12)
    for name, (g, zero) in settings.items():
        index = rng.integers(0, 64, (g["O"], g["KH"], g["KW"], g["C"] // g["GROUPS"] // 8))
        index.flat[:3] = (1, 2, 0)[: index.size]
        weights = pool[index].reshape(*index.shape[:3], -1)
        bias = rng.integers(-(2**18), 2**18, g["O"])
        folded = bias - (128 + zero) * weights.sum(axis=(1, 2, 3))
        x = frames(rng, (g["H"], g["W"], g["C"]))

        def expect(bits: list[int], x=x, g=g, zero=zero, weights=weights, bias=bias) -> np.ndarray:
            q = np.stack([model.truncate(t, b) for t, b in zip(taps(x, g, zero), bits, strict=False)])
            return model.affine(q, weights, bias, zero, g["GROUPS"]).reshape(len(x), -1)

        label = f"pool64-{name}"
        params = {
            **g,
            "ZERO_IN": zero,
            "ACC_W": 24,
            "INDEX_FILE": f"{label}.index.mem",
            "TABLE_FILE": "pool64.table.mem",
            "BIAS_FILE": f"{label}.bias.mem",
        }
        files = {
            f"{label}.index.mem": mem(index, 6),
            f"{label}.bias.mem": mem(folded, 24),
            "pool64.table.mem": table,
        }
        yield Sample(
            label,
            instance("tb_pool64", "dut", params, f".bits(bits), {s_port(8)}, {M_PORT}"),
            24,
            files,
            x.reshape(len(x), -1),
            expect,
        )


def maxpool_samples() -> Iterator[Sample]:
    """Maximum pools; padding is the lowest value."""
    settings = {
        "two": geometry(4, 6, 3, 3, 2, 2, 2, 2, groups=3),
        "padded": geometry(5, 5, 2, 2, 3, 3, 2, 2, groups=2, pads=(1, 1, 1, 1)),
        "dilated": geometry(7, 5, 1, 1, 3, 2, 1, 1, 2, 3, pads=(1, 0, 0, 1)),
        "line": geometry(1, 9, 4, 4, 1, 3, 1, 3, groups=4),
    }
    for number, (name, g) in enumerate(settings.items()):
        rng = np.random.default_rng(200 + number)
        x = frames(rng, (g["H"], g["W"], g["C"]))
        params = {k: v for k, v in g.items() if k not in ("O", "GROUPS")}

        def expect(_: list[int], x=x, g=g) -> np.ndarray:
            return taps(x, g, -128).max(axis=(3, 4)).reshape(len(x), -1)

        yield Sample(
            f"maxpool-{name}",
            instance("tb_maxpool", "dut", params, f"{s_port(8)}, {M_PORT}"),
            8,
            {},
            x.reshape(len(x), -1),
            expect,
        )


def residual_sample() -> Sample:
    """x + requantise(conv(x)): residual.v."""
    rng = np.random.default_rng(300)
    g = GEOMETRIES["plain"] | {"O": 3}
    weights, bias = rng.integers(-128, 128, (3, 3, 3, 3)), rng.integers(-(2**12), 2**12, 3)
    x = frames(rng, (5, 4, 3))

    def expect(_: list[int]) -> np.ndarray:
        acc = model.affine(taps(x, g, 2), weights, bias, 2, 1)
        y = model.requantise(acc, [3, 5, 7], [12], 0, -4, -100, 120)
        out = model.requantise((x - 2) * 3 + (y + 4) * 5, [1], [3], 0, 1, -128, 127).reshape(len(x), -1) & 255
        out[:, -1] -= 256  # bit 8, the sign of the driver's word, is tlast
        return out

    files = {
        "residual.weight.mem": mem(weights, 8),
        "residual.bias.mem": mem(bias, 24),
        "residual.multiplier.mem": mem([3, 5, 7], 31),
    }
    ports = f"{s_port(8)}, {stream('m', 'm_data[7:0]', 'm_valid', 'm_ready')}, .m_axis_tlast(m_data[8])"
    body = f"    residual dut (.clk(clk), .rst(rst), {ports});\n"
    return Sample("residual", body, 9, files, x.reshape(len(x), -1), expect)
