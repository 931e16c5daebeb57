# SPDX-License-Identifier: Apache-2.0
"""tinybound compiles a trained network to C and Verilog and bounds its distance to the float network.

>>> import tinybound
>>> build = tinybound.compile("model.onnx", "BUILD", tinybound.Options(domain="-1,1"))   # doctest: +SKIP
>>> build.verify(["host"]).ok                                                            # doctest: +SKIP
True
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

try:
    __version__ = version("tinybound")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

if TYPE_CHECKING:
    from .build import Build, Options, compile, load  # noqa: A004 -- the verb

__all__ = ["Build", "Options", "compile", "load"]


def __getattr__(name: str) -> Any:
    """The public names, imported when first used: `tinybound --help` needs none of them."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import build

    return getattr(build, name)
