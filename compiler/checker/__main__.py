# SPDX-License-Identifier: Apache-2.0
"""The checker alone: python -m tinybound.checker CERTIFICATE; or, with this folder and nothing else of ours,
python -m checker from the folder that it lies in."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path


def main() -> int:
    """0: confirmed, 1: not, 2: bad usage. One JSON object on standard output."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy: matrices here are small
    from .check import MEMORY, TIMEOUT, check_certificate

    say = argparse.ArgumentParser(prog="python -m checker", description="Check a certificate again.")
    say.add_argument("certificate", type=Path)
    say.add_argument("--build", type=Path, help="by default the folder that it lies in")
    say.add_argument("--timeout", type=float, default=TIMEOUT, help="seconds (%(default)g)")
    say.add_argument("--memory", type=float, default=MEMORY, help="GiB (%(default)g)")
    said = say.parse_args()
    for name in ("timeout", "memory"):
        if not 0 < getattr(said, name) < float("inf"):
            say.error(f"--{name}: a positive number")
    folder = said.build or said.certificate.parent
    verdict = check_certificate(said.certificate, folder, timeout=said.timeout, memory=said.memory)
    sys.stdout.write(json.dumps(verdict) + "\n")
    return 0 if verdict["accepted"] else 1


if __name__ == "__main__":
    sys.exit(main())
