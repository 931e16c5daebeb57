# SPDX-License-Identifier: Apache-2.0
"""ONNX files to the normalised float graph, with the quantisation that the file prescribes."""

from .load import Imported, load_onnx

__all__ = ["Imported", "load_onnx"]
