# SPDX-License-Identifier: Apache-2.0
"""Options of `certify`, with their help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Around = Annotated[
    Path | None, typer.Option(metavar="X.npz", help="The box is a ball about one of these inputs.")
]
Index = Annotated[int, typer.Option(metavar="I", help="Which one.")]
Radius = Annotated[float | None, typer.Option(metavar="R", help="Of balls, per element.")]
Inputs = Annotated[
    Path | None, typer.Option(metavar="X.npz", help="In how many of the balls about these do classes agree?")
]
Margin = Annotated[bool, typer.Option("--margin", help="Do the classes agree in the whole box?")]
Objective = Annotated[
    str | None, typer.Option(metavar="SUM", help="Bound a combination too, such as 'y[0] - 2*y[3]'.")
]
MaxBox = Annotated[
    float | None, typer.Option("--find-max-box", metavar="E", help="The largest ball or box with error <= E.")
]
Shares = Annotated[
    bool, typer.Option("--shares", help="What each layer adds to the bound; a picture in report.html.")
]
Reference = Annotated[
    Path | None, typer.Option(metavar="OTHER.onnx", help="Bound against a float network of any shape.")
]
Export = Annotated[
    Path | None,
    typer.Option("--export-merged", metavar="M.onnx", help="Write float - integer, with its VNN-LIB query."),
]
Arithmetic = Annotated[
    str,
    typer.Option(metavar="real|float32", help="Of the float network: exact, or float32 in any order."),
]
Timeout = Annotated[
    float | None,
    typer.Option(metavar="S", help="Seconds in all; 0: one pass over the whole box (docs/certify.md)."),
]
Grid = Annotated[
    bool, typer.Option("--grid", help="Inputs are integers already: no input rounding, only their numbers.")
]
Jobs = Annotated[
    int | None,
    typer.Option(metavar="N", help="Processes; all processors for a certificate, 1 for --inputs."),
]
Cluster = Annotated[
    str | None, typer.Option(metavar="ADDRESS", help="A dask scheduler, for processes (extra `cluster`).")
]
CheckTimeout = Annotated[
    float | None, typer.Option(metavar="S", help="Seconds after which nothing is accepted; 1800 if not told.")
]
CheckMemory = Annotated[
    float | None, typer.Option(metavar="GIB", help="Memory above which nothing is; 8 if not told.")
]
