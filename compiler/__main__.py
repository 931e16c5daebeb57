# SPDX-License-Identifier: Apache-2.0
"""The command's entry point: Ctrl-C is answered from the first moment, also while libraries load."""

from __future__ import annotations

import os
import sys

INTERRUPTED = 130


def main() -> None:
    """Run the command line."""
    # Matrices here are small: threads that wait for each other cost several times what they compute.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        from .cli import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted\n")
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
