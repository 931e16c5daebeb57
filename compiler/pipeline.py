# SPDX-License-Identifier: Apache-2.0
"""From a model file and options to the two networks: the float reference and its integer twin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .arrays import read_npz
from .boxes import Box, parse_box
from .errors import CompileError
from .frontends import Imported, load_onnx
from .graph import Graph
from .ops.base import Scaled
from .options import Options
from .passes.match import match_reference
from .quantise.calibrate import Ranges, calibrate, reachable, samples_of_box, widen, with_pads
from .quantise.inner import exact_scales, summed
from .quantise.lower import chosen, lower, stored_scales
from .quantise.scales import activation
from .quantise.signs import only_signs
from .quantise.weights import anew, choose_weights
from .rounding import MODES

DOMAIN_SAMPLES = 2048


@dataclass(frozen=True)
class Networks:
    """The float reference, the integer network, the input domain, and what the domain rests on.

    rounded: layers of a quantised file whose integer weights are not the file's.
    """

    float_graph: Graph
    integer_graph: Graph
    domain: Box
    samples: dict[str, NDArray[np.float64]]
    reference: Path
    rounded: tuple[str, ...]


def build_networks(model: Path, options: Options, count: int = DOMAIN_SAMPLES) -> Networks:
    """Load, calibrate (on `count` samples of the domain where there is no calibration), quantise."""
    imported = load_onnx(model)
    graph = imported.graph
    box = parse_box(options.domain, graph) if options.domain else None
    samples = _samples(imported, options, box, count)
    integer_graph = _quantise(imported, options, samples, box)
    rounded = anew(graph, integer_graph, imported.given)
    float_graph, reference = graph, model
    if options.reference is not None:
        reference = options.reference
        float_graph, integer_graph = match_reference(load_onnx(reference).graph, integer_graph)
    if box is None:
        box = _default_domain(imported, integer_graph, samples)
    return Networks(float_graph, integer_graph, box, samples, reference, rounded)


def _samples(
    imported: Imported, options: Options, box: Box | None, count: int
) -> dict[str, NDArray[np.float64]]:
    graph = imported.graph
    if options.calibration is not None:
        return read_inputs(options.calibration, graph)
    if box is not None:
        return samples_of_box(box.lower, box.upper, count, options.seed)
    if imported.quantised and all(name in imported.activations for name in graph.inputs):
        whole = _representable(imported)
        return samples_of_box(whole.lower, whole.upper, min(count, 64))
    raise CompileError(
        "calibration", "a float model and no samples", "typical inputs", "--calibration X.npz or --domain BOX"
    )


def _representable(imported: Imported) -> Box:
    """What the integers of quantised inputs can represent."""
    lower, upper = {}, {}
    for name in imported.graph.inputs:
        shape = imported.graph.values[name].shape
        lower[name], upper[name] = (np.full(shape, end) for end in imported.activations[name].reals)
    return Box(lower, upper)


def read_inputs(path: Path, graph: Graph) -> dict[str, NDArray[np.float64]]:
    """Real inputs N x shape from an .npz with one array per graph input."""
    try:
        held = read_npz(path)
    except ValueError as error:
        raise CompileError(str(path), str(error), "an .npz with one array per graph input") from error
    found = {}
    for name in graph.inputs:
        shape = graph.values[name].shape
        if name not in held:
            raise CompileError(str(path), f"arrays {sorted(held)}", f"one named {name!r}, of numbers")
        array = held[name]
        if array.ndim and len(array) == 0:
            raise CompileError(str(path), f"{name!r} is empty", "at least one input")
        if array.shape[1:] != shape:
            if (
                array.ndim == 0
                or array.size != len(array) * int(np.prod(shape))
                or array.shape[1:] != (1, *shape)
            ):
                raise CompileError(str(path), f"{name!r} of shape {array.shape}", f"N x {shape}")
            array = array.reshape(len(array), *shape)
        found[name] = array.astype(np.float64)
        if not np.isfinite(found[name]).all():
            raise CompileError(str(path), f"NaN or infinity in {name!r}", "finite numbers")
    return found


def _quantise(
    imported: Imported, options: Options, samples: dict[str, NDArray[np.float64]], box: Box | None
) -> Graph:
    graph = imported.graph
    power_of_two = options.scales == "pow2"
    known = imported.activations
    wanted: dict[str, Scaled] = {**known, **exact_scales(graph, known)}
    missing = sorted({*chosen(graph).values()} - set(wanted) - set(only_signs(graph)))
    if missing:
        ranges = _ranges(imported, options, samples, box, missing)
        wide = options.activations == 16 or any(scale.wide for scale in known.values())
        wanted |= {name: activation(*ranges[name], power_of_two=power_of_two, wide=wide) for name in missing}
    stored = stored_scales(graph, wanted)
    long = {name for name, scale in stored.items() if scale.wide}
    if long and options.requant != "onnx":
        raise CompileError(
            "--requant", f"{options.requant} with activations of 16 bits", "onnx: TFLite has other rules here"
        )
    layers = [node.name for node in graph.nodes if node.op.weighted]
    codes = options.codes(layers)
    weights = choose_weights(graph, codes, imported.weights, power_of_two=power_of_two, stored=stored)
    return lower(graph, wanted, weights, MODES[options.requant])


def _ranges(
    imported: Imported,
    options: Options,
    samples: dict[str, NDArray[np.float64]],
    box: Box | None,
    missing: Sequence[str],
) -> Ranges:
    """What activations cover: what the samples show, or, data-free, all that the domain can reach."""
    graph = imported.graph
    if options.data_free:
        whole = box or _default_domain(imported, graph, samples)
        return with_pads(graph, reachable(graph, whole.lower, whole.upper))
    if imported.quantised:
        whole = box or _default_domain(imported, graph, samples)
        limits = reachable(graph, whole.lower, whole.upper, imported.activations)
        sums = summed(graph)
        wide = widen(calibrate(graph, samples, imported.activations), limits) if sums & {*missing} else {}
        return with_pads(graph, {**limits, **{name: ends for name, ends in wide.items() if name in sums}})
    reached = None if box is None else reachable(graph, box.lower, box.upper)
    return with_pads(graph, widen(calibrate(graph, samples), reached))


def _default_domain(imported: Imported, graph: Graph, samples: dict[str, NDArray[np.float64]]) -> Box:
    """Minimum and maximum per element of the calibration, or what a quantised model's input can represent."""
    lower_ends, upper_ends = {}, {}
    for name in graph.inputs:
        if name in imported.activations:
            low, high = imported.activations[name].reals
            lower_ends[name] = np.full(graph.values[name].shape, low)
            upper_ends[name] = np.full(graph.values[name].shape, high)
        else:
            lower_ends[name], upper_ends[name] = samples[name].min(axis=0), samples[name].max(axis=0)
    return Box(lower_ends, upper_ends)
