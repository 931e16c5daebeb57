# SPDX-License-Identifier: Apache-2.0
"""The independent checker of certificates. It imports the standard library, numpy and onnx's parser, nothing
of ours: it reads both networks itself and computes every bound again (docs/certificate.md)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .check import check_certificate

__all__ = ["check_certificate"]


def __getattr__(name: str) -> object:
    """Found when first used: __main__ says how many threads numpy gets, before numpy is imported."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .check import check_certificate

    return check_certificate
