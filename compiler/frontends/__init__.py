# SPDX-License-Identifier: Apache-2.0
"""ONNX files to the normalised float graph, with the quantisation that the file prescribes."""

from .finish import Imported
from .load import load_onnx
from .model_file import self_contained

__all__ = ["Imported", "load_onnx", "self_contained"]
