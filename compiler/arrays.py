# SPDX-License-Identifier: Apache-2.0
"""Arrays from .npz files that users hand over: whatever is wrong with one is a ValueError of one line."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Every array of numbers in the file; ValueError when it is missing, damaged, or needs pickle."""
    try:
        if path.is_file() and not zipfile.is_zipfile(path):
            raise ValueError("not a readable .npz file (no archive)")
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: np.asarray(archive[name]) for name in archive.files}
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"not a readable .npz file ({error})") from error
    return {name: array for name, array in arrays.items() if array.dtype.kind in "fiub"}
