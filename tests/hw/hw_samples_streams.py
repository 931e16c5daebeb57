# SPDX-License-Identifier: Apache-2.0
"""Samples of the blocks without a window: requantise, add, table, reorder, FIFO."""

from __future__ import annotations

from collections.abc import Iterator

import hw_model as model
import numpy as np
from hw_samples import FRAMES, M_PORT, Sample, instance, mem, s_port, stream


def requantise_samples() -> Iterator[Sample]:
    """name: ACC_W, multipliers, shifts (one: shared), zero_in, zero_out, lo, hi, and other roundings."""
    rng = np.random.default_rng(1)
    big = 2**31 - 1
    settings = {
        "unit0": (9, [1], [0], 0, 0, -128, 127),
        "unit1": (10, [1], [1], 0, 0, -128, 127),
        "unit5": (16, [1], [5], 0, -128, -128, 127),
        "unit62": (12, [1], [62], 0, 3, -128, 127),
        "unit12": (12, [1], [12], 0, 0, -128, 127),
        "unit13": (12, [1], [13], 0, 0, -128, 127),
        "unitwide": (64, [1], [50], 0, 7, -100, 100),
        "unitshifts": (20, [1], [0, 3, 11, 13, 62], 0, 1, -128, 127),
        "even": (20, [2, 4, 6, 12], [8, 10, 9, 12], 0, 5, -128, 127),
        "shared": (24, [big], [45], 0, 0, 0, 127),
        "max": (32, [big, 1, big - 1, 2**30], [62, 24, 53, 54], 0, -1, -128, 127),
        "s32": (24, [int(m) for m in rng.integers(2**18, 2**26, 6) | 1], [32], 0, -20, -20, 127),
        "narrow": (17, [3, 1, 2], [9, 0, 2], 0, 127, -128, 127),
        "bytes": (8, [96], [6], -128, 10, -128, 127),
        "zeroes": (8, [5, 7], [3, 4], 127, -128, -128, 100),
        "wide": (48, [big, 12345], [62, 50], 0, 0, -128, 127),
        "constant": (20, [77], [3], 0, 4, 4, 4),
    }
    for roundings in (1, 2, 3):
        each = f"tflite{roundings}-"
        settings |= {
            each + "shared": (32, [2**30 + 1], [39], 0, -128, -128, 127, roundings),
            each + "tie": (32, [2**30], [38], 0, 3, -128, 127, roundings),
            each + "channels": (
                32,
                [2**30, big, 2**30, 2**30 + 12345],
                [31, 33, 40, 62],
                0,
                -9,
                -100,
                99,
                roundings,
            ),
            each + "left": (12, [2**30, 2**30 + 7], [24, 30], 0, 0, -128, 127, roundings),
            each + "near": (32, [big, 2**30], [32], 0, 0, -128, 127, roundings),
            each + "bytes": (8, [2**30], [31], -128, 10, -128, 127, roundings),
            each + "none": (9, [1], [0], 0, 0, -128, 127, roundings),
        }
    most, sixth = -(-(2**33) // 6), -(-(2**32) // 6)  # at halves, and 2^-16 and less beside them
    settings |= {
        "mean-sixth": (20, [most], [33], 0, 5, -128, 127, 4),
        "mean-each": (20, [sixth, sixth | 1, 2**20, 3], [32, 32, 26, 16], 0, -9, -100, 99, 4),
        "mean-short": (12, [1], [16], 0, 0, -128, 127, 4),
    }
    for name, (width, m, s, zero_in, zero_out, lo, hi, *roundings) in settings.items():
        channels = max(len(m), len(s))
        label = f"requantise-{name}"
        params = {
            "ACC_W": width,
            "CHANNELS": channels,
            "MULTIPLIER": m[0] if len(m) == 1 else 0,
            "SHIFT": s[0] if len(s) == 1 else 63,
            "ZERO_IN": zero_in,
            "ZERO_OUT": zero_out,
            "LO": lo,
            "HI": hi,
            **({"ROUNDINGS": roundings[0]} if roundings else {}),
        }
        files = {}
        if len(m) > 1:
            params["MULTIPLIER_FILE"] = f"{label}.multiplier.mem"
            files[f"{label}.multiplier.mem"] = mem(m, 31)
        if len(s) > 1:
            params["SHIFT_FILE"] = f"{label}.shift.mem"
            files[f"{label}.shift.mem"] = mem(s, 6)
        x = _accumulators(rng, width, m, s, zero_in, channels)

        def expect(_: list[int], x=x, m=m, s=s, rest=(zero_in, zero_out, lo, hi, *roundings)) -> np.ndarray:
            return model.requantise(x, m, s, *rest)

        yield Sample(
            label, instance("tb_requantise", "dut", params, f"{s_port(width)}, {M_PORT}"), 8, files, x, expect
        )


def _accumulators(rng, width: int, m: list[int], s: list[int], zero_in: int, channels: int) -> np.ndarray:
    """(FRAMES, beats) accumulators: the ends of the range, random ones, and ties and their neighbours."""
    low, high = -(1 << (width - 1)), (1 << (width - 1)) - 1
    rows = 40
    x = np.empty((FRAMES, rows, channels), object)
    for k in range(channels):
        mk, sk = m[k % len(m)], s[k % len(s)]
        values = [low, low + 1, high - 1, high, 0, 1, -1]
        for _ in range(30):  # acc * m near (odd) * 2^(s-1), small quotients
            odd = 2 * int(rng.integers(-140, 141)) + 1
            near = odd * (1 << sk) // (2 * mk) + zero_in
            values += [near - 1, near, near + 1]
        values = [v for v in values if low <= v <= high]
        values += [int(v) for v in rng.integers(low, high, FRAMES * rows, endpoint=True)]
        span = min(high, 200 * (1 << sk) // mk + 2)  # not saturated
        values[len(values) // 2 :: 2] = [
            int(v)
            for v in rng.integers(
                max(low, -span), span, endpoint=True, size=len(values[len(values) // 2 :: 2])
            )
        ]
        x[:, :, k] = np.array(values[: FRAMES * rows], object).reshape(FRAMES, rows)
    return x.reshape(FRAMES, -1).astype(np.int64)


def add_samples() -> Iterator[Sample]:
    """Joins followed by tb_requantise; input words are b * 256 + a; offered together."""
    settings = {
        "plain": (0, 0, 1, 1, 10, 1, 0),
        "scaled": (-5, 127, 3, 200, 20, 9, 4),
        "wide": (-128, 3, 2**45 - 1, 2**53, 64, 54, -7),
        "ties": (0, 0, 8, 24, 16, 4, 0),
        "difference": (-5, 127, 3, -200, 20, 9, 4),
        "product": (-128, 127, 0, 0, 17, 6, 3),
    }
    for number, (name, (za, zb, ma, mb, width, shift, zero)) in enumerate(settings.items()):
        rng = np.random.default_rng(number)
        a, b = rng.integers(-128, 128, (2, FRAMES, 64))
        a[0, :4], b[0, :4] = (-128, -128, 127, 127), (-128, 127, -128, 127)

        def expect(_: list[int], a=a, b=b, za=za, zb=zb, ma=ma, mb=mb, shift=shift, zero=zero) -> np.ndarray:
            acc = (a - za).astype(object) * ma + (b - zb).astype(object) * mb
            acc = acc if ma else (a - za) * (b - zb)
            return model.requantise(acc, [1], [shift], 0, zero, -128, 127)

        params = {
            "ZERO_A": za,
            "ZERO_B": zb,
            "MULTIPLIER_A": f"64'd{ma}",
            "MULTIPLIER_B": f"64'h{mb % (1 << 64):x}",
            "ACC_W": width,
        }
        if not ma:
            params = {key: value for key, value in params.items() if "MULTIPLIER" not in key}
        body = (
            f"    wire [{width - 1}:0] acc;\n    wire accv, accr, ra, rb;\n    assign s_ready = ra && rb;\n"
            + instance(
                "tb_add" if ma else "tb_mul",
                "dut",
                params,
                ".s_axis_a_tdata(s_data[7:0]), .s_axis_b_tdata(s_data[15:8]), "
                ".s_axis_a_tvalid(s_valid), .s_axis_b_tvalid(s_valid), .s_axis_a_tready(ra), "
                f".s_axis_b_tready(rb), {stream('m', 'acc', 'accv', 'accr')}",
            )
            + instance(
                "tb_requantise",
                "narrow",
                {"ACC_W": width, "SHIFT": shift, "ZERO_OUT": zero},
                f"{stream('s', 'acc', 'accv', 'accr')}, {M_PORT}",
            )
        )
        yield Sample(f"add-{name}", body, 8, {}, (b & 255) * 256 + (a & 255), expect)


def product_samples() -> Iterator[Sample]:
    """Dot products of the rows of two frames of one size; input words are b * 256 + a."""
    settings = {"plain": (1, 3, 5, 0, 0), "groups": (3, 2, 4, -128, 127), "one": (1, 1, 1, 5, -7)}
    for number, (name, (groups, rows, depth, za, zb)) in enumerate(settings.items()):
        rng = np.random.default_rng(number)
        a, b = rng.integers(-128, 128, (2, FRAMES, groups, rows, depth))
        a[0], b[0] = -128, 127

        def expect(_: list[int], a=a, b=b, za=za, zb=zb) -> np.ndarray:
            acc = np.einsum("fgmk,fgnk->fgmn", a - za, b - zb, optimize=False)
            return model.requantise(acc.reshape(FRAMES, -1).astype(object), [1], [9], 0, 3, -128, 127)

        sizes = {"GROUPS": groups, "ROWS": rows, "COLUMNS": rows, "DEPTH": depth}
        body = (
            "    wire [23:0] acc;\n    wire accv, accr, ra, rb;\n    assign s_ready = ra && rb;\n"
            + instance(
                "tb_mat_mul",
                "dut",
                {**sizes, "ZERO_A": za, "ZERO_B": zb, "ACC_W": 24},
                ".s_axis_a_tdata(s_data[7:0]), .s_axis_b_tdata(s_data[15:8]), "
                ".s_axis_a_tvalid(s_valid && rb), .s_axis_b_tvalid(s_valid && ra), .s_axis_a_tready(ra), "
                f".s_axis_b_tready(rb), {stream('m', 'acc', 'accv', 'accr')}",
            )
            + instance(
                "tb_requantise",
                "narrow",
                {"ACC_W": 24, "SHIFT": 9, "ZERO_OUT": 3},
                f"{stream('s', 'acc', 'accv', 'accr')}, {M_PORT}",
            )
        )
        words = ((b & 255) * 256 + (a & 255)).reshape(FRAMES, -1)
        yield Sample(f"products-{name}", body, 8, {}, words, expect)


def plain_samples() -> Iterator[Sample]:
    """Table, reorder and FIFO."""
    rng = np.random.default_rng(2)
    entries = rng.integers(-128, 128, 256)
    x = np.stack([rng.permutation(256) - 128 for _ in range(FRAMES)])
    yield Sample(
        "table",
        instance("tb_table", "dut", {"FILE": "table.entries.mem"}, f"{s_port(8)}, {M_PORT}"),
        8,
        {"table.entries.mem": mem(entries, 8)},
        x,
        lambda _: entries[x + 128],
    )
    perms = {
        "transpose": np.arange(60).reshape(3, 4, 5).transpose(1, 2, 0).reshape(-1),
        "crop": np.array([6, 2, 3]),
        "repeat": np.array([0, 1, 1, 2, 0, 2, 2]),
        "single": np.array([0]),
        "gather": np.array([9]),
        "pad": np.array([3, 0, 3, 3, 2, 1, 3]),
        "nothing but padding": np.array([8, 8]),
    }
    for name, perm in perms.items():
        beats = {"crop": 7, "gather": 13, "pad": 3, "nothing but padding": 8}.get(name, int(perm.max()) + 1)
        frames = rng.integers(-128, 128, (FRAMES, beats))
        width, pad = beats.bit_length(), -7
        padded = np.append(frames, np.full((FRAMES, 1), pad), axis=1)
        params = {"IN": beats, "OUT": len(perm), "PAD": pad, "FILE": f"reorder.{name}.mem"}
        yield Sample(
            f"reorder-{name}",
            instance("tb_reorder", "dut", params, f"{s_port(8)}, {M_PORT}"),
            8,
            {f"reorder.{name}.mem": mem(perm, width)},
            frames,
            lambda _, padded=padded, perm=perm: padded[:, perm],
        )
    for depth in (1, 3, 8):
        frames = rng.integers(-(2**39), 2**39, (FRAMES, 50))
        yield Sample(
            f"fifo-{depth}",
            instance("tb_fifo", "dut", {"WIDTH": 40, "DEPTH": depth}, f"{s_port(40)}, {M_PORT}"),
            40,
            {},
            frames,
            lambda _, frames=frames: frames,
        )


def argmax_samples() -> Iterator[Sample]:
    """Rows with many ties."""
    rng = np.random.default_rng(5)
    for count, last, offset in ((1, 0, 0), (2, 1, 0), (10, 0, 0), (10, 1, 0), (256, 1, -128)):
        x = rng.integers(-128, 128, (FRAMES, count)) // 40
        x[1] = np.arange(count) - 128 if count > 1 else -128
        x[2] = 127  # all equal
        found = count - 1 - x[:, ::-1].argmax(axis=1) if last else x.argmax(axis=1)

        def expect(_: list[int], found=found, offset=offset) -> np.ndarray:
            return found[:, None] + offset

        params = {"COUNT": count, "LAST": last, "OFFSET": offset}
        body = instance("tb_argmax", "dut", params, f"{s_port(8)}, {M_PORT}")
        yield Sample(f"argmax-{count}-{last}", body, 8, {}, x, expect)


def softmax_samples() -> Iterator[Sample]:
    """Softmax of a few values, in steps of 1/256 and in others."""
    rng = np.random.default_rng(3)
    table = np.round(2**15 * np.exp(-np.arange(256) / 19)).astype(np.int64)
    laws = ((1, 8, 0, -128, 127), (2, 8, 0, -128, 127), (10, 8, 65793, -128, 127), (13, 7, 132104, 0, 127))
    for count, bits, extra, zero, top in (*laws, (5, 24, (1 << 24) - 1, 3, 100), (3, 0, 0, -7, 127)):
        x = rng.integers(-128, 128, (FRAMES, count))
        x[1] = x[1] // 16
        x[2] = 127  # all equal

        def expect(_: list[int], x=x, how=(bits, extra, zero, top)) -> np.ndarray:
            bits, extra, zero, top = how
            e = table[x.max(axis=1, keepdims=True) - x]
            total = e.sum(axis=1, keepdims=True)
            total += (extra * total + 2**23) // 2**24
            floor, rest = np.divmod(e << bits, total)
            up = (2 * rest > total) | ((2 * rest == total) & (floor % 2 == 1))
            return np.minimum(floor + up + zero, top)

        name = f"softmax-{count}"
        law = {"BITS": bits, "EXTRA": extra, "ZERO": zero, "HI": top}
        params = {"COUNT": count, **law, "FILE": "softmax.mem"}
        body = instance("tb_softmax", "dut", params, f"{s_port(8)}, {M_PORT}")
        yield Sample(name, body, 8, {"softmax.mem": mem(table, 16)}, x, expect)
