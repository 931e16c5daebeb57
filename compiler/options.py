# SPDX-License-Identifier: Apache-2.0
"""What a user may ask of `compile`; recorded in the manifest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from .errors import CompileError
from .rounding import MODES

TARGETS = ("c", "verilog", "all")
OPTIMISE = ("speed", "size")  # what the choice of kernels is for
ACTIVATIONS = (8, 16)  # bits of an activation
BUFFERS = ("caller", "arena")  # whose memory the network's inputs and outputs are


@dataclass(frozen=True)
class Options:
    """Options of one compilation; `weights` are CODE or NODE=CODE."""

    target: str = "all"
    core: str = "cortex-m4"
    optimise: str = "speed"
    weights: tuple[str, ...] = ("int8",)
    activations: int = 8
    scales: str = "any"
    requant: str = "onnx"
    buffers: str = "caller"
    calibration: Path | None = None
    domain: str | None = None
    data_free: bool = False
    reference: Path | None = None
    max_error: Fraction | None = None
    max_flash: int | None = None
    max_ram: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("calibration", "reference"):
            path: Path | str | None = getattr(self, name)
            object.__setattr__(self, name, None if path is None else Path(path))
        if self.seed < 0:
            raise CompileError("--seed", f"{self.seed}", "0 or more")
        for name in ("max_flash", "max_ram"):
            limit = getattr(self, name)
            if limit is not None and limit <= 0:
                raise CompileError(f"--{name.replace('_', '-')}", f"{limit}", "a positive number of bytes")
        if self.data_free and self.calibration is not None:
            raise CompileError("--data-free", "--calibration as well", "one of them")
        if self.target not in TARGETS:
            raise CompileError("--target", f"{self.target!r}", f"one of {', '.join(TARGETS)}")
        for name, known in (("optimise", OPTIMISE), ("buffers", BUFFERS), ("activations", ACTIVATIONS)):
            if getattr(self, name) not in known:
                raise CompileError(f"--{name}", f"{getattr(self, name)!r}", " or ".join(map(str, known)))
        if self.scales not in ("any", "pow2"):
            raise CompileError("--scales", f"{self.scales!r}", "any or pow2")
        if self.requant not in MODES:
            raise CompileError("--requant", f"{self.requant!r}", f"one of {', '.join(MODES)}")
        if self.max_error is not None and self.max_error <= 0:
            raise CompileError("--max-error", f"{float(self.max_error)}", "a positive number")

    def codes(self, nodes: Sequence[str]) -> dict[str, str]:
        """Weight code per node name."""
        default, special = "int8", {}
        for entry in self.weights:
            node, found, code = entry.rpartition("=")
            if found:
                special[node] = code
            else:
                default = code
        unknown = sorted(set(special) - set(nodes))
        if unknown:
            raise CompileError("--weights", f"no layer {unknown[0]!r}", f"one of {', '.join(nodes)}")
        return {name: special.get(name, default) for name in nodes}

    def to_json(self) -> dict[str, Any]:
        """Plain data for the manifest; files by name only: a build does not tell where it was made."""
        plain = asdict(self)
        for key in ("calibration", "reference"):
            plain[key] = None if plain[key] is None else Path(plain[key]).name
        plain["max_error"] = None if self.max_error is None else str(self.max_error)
        if self.domain is not None and Path(self.domain).is_file():
            plain["domain"] = Path(self.domain).name
        return plain
