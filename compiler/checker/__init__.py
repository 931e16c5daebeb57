# SPDX-License-Identifier: Apache-2.0
"""The independent checker of certificates. It imports the standard library, numpy and onnx's parser, nothing
of ours: it reads both networks itself and computes every bound again (docs/certificate.md)."""

from .check import check_certificate

__all__ = ["check_certificate"]
