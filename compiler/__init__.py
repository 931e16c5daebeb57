# SPDX-License-Identifier: Apache-2.0
"""tinybound compiles a trained network to C and Verilog and bounds its distance to the float network.

>>> import tinybound
>>> build = tinybound.compile("model.onnx", "BUILD", tinybound.Options(domain="-1,1"))   # doctest: +SKIP
>>> build.verify(["host"]).ok                                                            # doctest: +SKIP
True
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing's own costs an import, and the command should answer Ctrl-C from the start
if TYPE_CHECKING:
    from .build import Build, Options, compile, load  # noqa: A004 -- the verb

    __version__: str

__all__ = ["Build", "Options", "compile", "load"]


def __getattr__(name: str) -> object:
    """The public names and the version, found when first used: `tinybound --help` needs none of them."""
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("tinybound")
        except PackageNotFoundError:  # a source tree that was never installed
            return "0+unknown"
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import build

    found: object = getattr(build, name)
    return found
