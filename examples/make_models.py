# SPDX-License-Identifier: Apache-2.0
"""Trains the bundled networks and writes their files: make_models.py [--to FOLDER] [NAME ...]"""

import argparse
from pathlib import Path

from recipes import controllers, digits

MODELS = {
    "digits_cnn": digits.make_cnn,
    "digits_mlp": digits.make_mlp,
    "residual_cnn": digits.make_residual,
    "controller2": controllers.make_controller2,
    "controller4": controllers.make_controller4,
}

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MODELS)}; none means all")
parser.add_argument("--to", type=Path, default=Path(__file__).parent, help="the folder to write to")
arguments = parser.parse_args()
for wanted in arguments.names or MODELS:
    if wanted not in MODELS:
        parser.error(f"no model {wanted}; there are {', '.join(MODELS)}")
    MODELS[wanted](arguments.to)
