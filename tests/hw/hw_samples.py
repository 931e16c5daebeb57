# SPDX-License-Identifier: Apache-2.0
"""A sample is one setting of a block: Verilog body, memory files, input frames, expected output frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

FRAMES = 3


@dataclass(frozen=True)
class Sample:
    """`body` uses clk, rst, bits, s_data[63:0], s_valid, s_ready, m_data[out_w-1:0], m_valid, m_ready."""

    name: str
    body: str
    out_w: int
    files: dict[str, str]
    inputs: np.ndarray  # (frames, beats in)
    expect: Callable[[list[int]], np.ndarray]  # bits of each frame -> (frames, beats out)

    @property
    def family(self) -> str:
        return self.name.split("-")[0]


def mem(values, width: int) -> str:
    """The text of a memory file: two's complement, ceil(width / 4) digits, newline at the end."""
    digits = (width + 3) // 4
    return "".join(
        f"{int(v) & ((1 << width) - 1):0{digits}x}\n" for v in np.asarray(values, object).reshape(-1)
    )


def instance(module: str, label: str, params: dict[str, object], ports: str) -> str:
    """An instance with clk, rst and `ports`; strings are quoted unless they are constants such as 64'd3."""
    text = ", ".join(f".{k}({_literal(v)})" for k, v in params.items())
    return f"    {module} #({text}) {label} (.clk(clk), .rst(rst), {ports});\n"


def _literal(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) and not value[:1].isdigit() else str(value)


def stream(side: str, data: str, valid: str, ready: str) -> str:
    """Port connections of one stream."""
    return f".{side}_axis_tdata({data}), .{side}_axis_tvalid({valid}), .{side}_axis_tready({ready})"


def s_port(width: int) -> str:
    return stream("s", f"s_data[{width - 1}:0]", "s_valid", "s_ready")


M_PORT = stream("m", "m_data", "m_valid", "m_ready")


def frames(rng, shape) -> np.ndarray:
    """FRAMES frames of bytes: random, with -128 and 127 frequent in the second, constant -128 first."""
    x = rng.integers(-128, 128, (FRAMES, *shape))
    x[0] = -128
    x[1] = np.where(rng.random(shape) < 0.5, x[1], rng.choice([-128, 127], shape))
    return x
