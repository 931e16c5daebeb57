# SPDX-License-Identifier: Apache-2.0
"""The ONNX backend test cases that the onnx package ships, as models that tinybound may compile.

The cases were made for runtimes: parameters come as inputs, and the first axis is any axis. Here the first
input is data and further ones are parameters, or data too where an op takes several tensors; the first axis
is the batch, and samples run one by one. A model that mixes samples is none: with its first sample alone,
onnx's own evaluator does not give the first part of what is expected.

`python tests/peer_suite.py` prints the report: what ran, what passed, what was refused and why.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from tinybound.build import Build
from tinybound.build import compile as compile_model
from tinybound.domains.exact import run
from tinybound.errors import CompileError
from tinybound.frontends import load_onnx
from tinybound.ops.base import Scaled
from tinybound.ops.final import final
from tinybound.options import Options

DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"
SETS = ("node", "pytorch-converted", "pytorch-operator", "simple")
RELEVANT = {
    *("Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "Sub", "Mul", "Div", "Concat", "Split", "Slice"),
    *("Pad", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "ReduceSum"),
    *("Relu", "LeakyRelu", "PRelu", "Clip", "HardSigmoid", "HardSwish", "Sigmoid", "Tanh", "Gelu", "Softmax"),
    *("BatchNormalization", "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"),
    *("ReduceMax", "Neg", "Pow", "Resize", "Upsample", "DepthToSpace", "SpaceToDepth"),
    *("Cast", "Constant", "Expand", "Gather", "Max", "Min", "ArgMax", "QLinearConv", "QLinearMatMul"),
    *("ConvInteger", "MatMulInteger", "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"),
}
WRAPS = {  # the expected outputs wrap around where the operator saturates; ONNX Runtime differs as well
    "node/test_qlinearmatmul_2D_int8_float16",
    "node/test_qlinearmatmul_2D_int8_float32",
}
SEVERAL = {"Add", "Sub", "Mul", "Div", "Concat", "Max", "Min", "PRelu"}  # ops of several tensors
WRAPPED = ("qlinearmatmul_2D_int8_float16", "qlinearmatmul_2D_int8_float32")  # -137 as 20: ORT saturates
LARGEST = 1000  # elements of an input: certifying more takes too long here
FLOATS = (np.float32, np.float64)


@dataclass(frozen=True)
class Case:
    """One shipped case: its folder, and whether every tensor input is data."""

    name: str
    folder: Path
    all_data: bool


def cases() -> list[Case]:
    """The cases whose ops are all RELEVANT."""
    found = []
    for name in SETS:
        for folder in sorted((DATA / name).glob("*")):
            if not (folder / "test_data_set_0" / "input_0.pb").is_file():
                continue
            if folder.name.endswith(WRAPPED):
                continue
            ops = {node.op_type for node in onnx.load(str(folder / "model.onnx")).graph.node}
            label = f"{name}/{folder.name}"
            if ops <= RELEVANT and label not in WRAPS:
                found.append(Case(label, folder, all_data=False))
                if ops & SEVERAL:
                    found.append(Case(f"{label}/tensors", folder, all_data=True))
    return found


class Refused(Exception):
    """tinybound refuses the model, by name."""


class Unusable(Exception):
    """The case is not a statement about a model with a batch of real inputs; why."""


@dataclass(frozen=True)
class Prepared:
    """A model file with batch axis 1, samples per input, and the expected outputs per sample."""

    path: Path
    inputs: dict[str, np.ndarray]
    wanted: list[np.ndarray]


def prepare(case: Case, work: Path) -> Prepared:
    """Parameters become initialisers, the first axis the batch."""
    model = onnx.load(str(case.folder / "model.onnx"))
    model.ir_version = max(model.ir_version, 4)  # from there on initialisers need no input
    graph = model.graph
    entries = [e for e in graph.input if e.name not in {i.name for i in graph.initializer}]
    given = dict(zip([e.name for e in entries], _tensors(case, "input", entries), strict=True))
    wanted = _tensors(case, "output", graph.output)
    _drop_integer_outputs(graph)
    data = _data(case, given)
    for entry in entries:
        if entry.name not in data:
            graph.input.remove(entry)
            graph.initializer.append(numpy_helper.from_array(given[entry.name], entry.name))
    for entry in [*graph.input, *graph.output]:
        whole = entry.name in data and data[entry.name].ndim == 1
        for dim in [] if whole else entry.type.tensor_type.shape.dim[:1]:
            dim.dim_param = "batch"
    path = work / "model.onnx"
    onnx.save(model, str(path))
    if _mixes(model, {n: x[:1] for n, x in data.items() if x.ndim > 1}, wanted[: len(graph.output)]):
        raise Unusable("samples are mixed")
    shaped = {n: x[None] if x.ndim == 1 else x for n, x in data.items()}
    return Prepared(path, shaped, wanted[: len(graph.output)])


def _mixes(model: onnx.ModelProto, first: dict[str, np.ndarray], wanted: list[np.ndarray]) -> bool:
    """Whether the first sample alone gives something else than the first part of the results."""
    try:
        found = ReferenceEvaluator(model).run(None, first)
    except Exception:  # noqa: BLE001 -- it has no such op, or a fixed shape that does not fit
        return False
    pairs = zip(found, (want[:1] for want in wanted), strict=True)
    return any(f.shape != want.shape or not np.allclose(f, want, 1e-3, 1e-4) for f, want in pairs)


def _data(case: Case, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The inputs that stay inputs: the first one, or all tensors; of one batch."""
    data: dict[str, np.ndarray] = {}
    for i, (name, array) in enumerate(given.items()):
        real = array.dtype in FLOATS or (i == 0 and array.dtype in (np.int8, np.uint8))
        if real and (i == 0 or (case.all_data and array.ndim > 0)):
            data[name] = array
    if not data or min(x.size for x in data.values()) == 0 or min(x.ndim for x in data.values()) == 0:
        raise Unusable("no real input, or a scalar or nothing")
    if case.all_data and len(data) < 2:
        raise Unusable("one tensor only")
    if len({1 if x.ndim == 1 else len(x) for x in data.values()}) > 1:
        raise Unusable("inputs of different batches")
    return data


def _tensors(case: Case, kind: str, entries: list[onnx.ValueInfoProto]) -> list[np.ndarray]:
    found = []
    for i, entry in enumerate(entries):
        path = case.folder / "test_data_set_0" / f"{kind}_{i}.pb"
        if not entry.type.HasField("tensor_type") or not path.is_file():
            raise Unusable("an input or output that is no tensor")
        found.append(numpy_helper.to_array(onnx.TensorProto.FromString(path.read_bytes())))
    return found


def _drop_integer_outputs(graph: onnx.GraphProto) -> None:
    """The masks and indices beside a first output say nothing of the network."""
    for extra in list(graph.output)[1:]:
        if extra.type.tensor_type.elem_type not in (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE):
            graph.output.remove(extra)
            for node in graph.node:
                kept = [name for name in node.output if name != extra.name]
                del node.output[:]
                node.output.extend(kept)


def meaning(prepared: Prepared) -> int:
    """Compare the float meaning with the expected outputs; the number of elements compared."""
    try:
        imported = load_onnx(prepared.path)
    except CompileError as error:
        raise Refused(reason(error)) from error
    graph, compared = imported.graph, 0
    count = len(next(iter(prepared.inputs.values())))
    for i in range(count):
        x = {n: _real(a[i], imported.activations.get(n)) for n, a in prepared.inputs.items()}
        values = run(graph, {n: a.reshape(graph.values[n].shape) for n, a in x.items()})
        for name, want in zip(graph.outputs, prepared.wanted, strict=True):
            scale, step = imported.activations.get(name), 0.0
            expected, got = _sample(want, i, count), np.asarray(values[name], np.float64)
            assert got.shape == expected.shape or got.size == expected.size == 1, (got.shape, expected.shape)
            if want.dtype == np.int64:  # indices
                np.testing.assert_array_equal(got.ravel(), expected.ravel())
                compared += want.size
                continue
            if want.dtype.kind != "f":  # the file ends in integers: half a step, and what saturates
                assert scale is not None
                step = float(scale.scale) / 2
                ends = [float(scale.scale) * (end - scale.zero) for end in (scale.lo, scale.hi)]
                got = np.clip(got, *ends)
            wanted = _real(expected, scale)
            np.testing.assert_allclose(got.ravel(), wanted.ravel(), rtol=1e-3, atol=1e-5 + step)  # its own
            compared += want.size
    return compared


def _real(x: np.ndarray, scale: Scaled | None) -> np.ndarray:
    """What a tensor of a quantised file stands for; uint8 is stored as q - 128, uint16 as q - 32768."""
    if x.dtype.kind == "f" or scale is None:
        return x.astype(np.float64)
    middle = {"uint8": 128, "uint16": 32768}.get(x.dtype.name, 0)
    return float(scale.scale) * (x.astype(np.float64) - middle - scale.zero)


def _sample(want: np.ndarray, i: int, count: int) -> np.ndarray:
    """Sample i of an expected output; a vector without a batch is the whole of it."""
    if want.ndim > 0 and len(want) == count:
        return want[i]
    if count > 1:
        raise Unusable("outputs of another batch than the inputs")
    return want


def integers(prepared: Prepared, work: Path) -> int:
    """Quantise, certify, and compare golden and C with the float meaning; outputs compared.

    golden == C, and |golden - float| is at most what the certificate of that box says.
    """
    if max(x[0].size for x in prepared.inputs.values()) > LARGEST:
        raise Unusable("more inputs than this suite certifies")
    ends = [f(float(x.min()), float(x.max())) for x in prepared.inputs.values() for f in (min, max)]
    low, high = min(ends), max(ends)
    try:
        build = compile_model(
            prepared.path, work / "build", Options(target="c", domain=f"{low!r},{max(high, low + 1e-3)!r}")
        )
    except CompileError as error:
        raise Refused(reason(error)) from error
    shapes = {n: build.graph.values[n].shape for n in build.graph.inputs}
    batch = {n: x.astype(np.float64).reshape(-1, *shapes[n]) for n, x in prepared.inputs.items()}
    golden, host = build.simulate(batch), build.simulate(batch, on="host")
    certificate, compared = build.certificate, 0
    assert certificate is not None
    for i in range(len(next(iter(batch.values())))):
        point = {n: x[i] for n, x in batch.items()}
        for name in build.graph.outputs:
            np.testing.assert_array_equal(golden[f"{name}__q"][i], host[f"{name}__q"][i])
            real = np.asarray(run(build.float_graph, point)[name])
            entry = certificate["outputs"][name]
            if "argmax" in entry:
                assert _near(build, point, name, golden[name][i], 2 * max(entry["bound"]))
            else:
                bound = entry.get("probability_bound", np.reshape(entry["bound"], (-1, *real.shape))[0])
                assert (np.abs(golden[name][i] - real) <= bound).all()
            compared += real.size
    return compared


def _near(build: Build, point: dict[str, np.ndarray], name: str, index: np.ndarray, gap: float) -> bool:
    """Whether what an ArgMax chose is at most `gap` below the largest of its row in the float network."""
    node = final(build.float_graph, name)
    rows = np.asarray(run(build.float_graph, point)[node.inputs[0]])
    rows = rows.reshape(-1, rows.shape[-1])
    chosen = rows[np.arange(len(rows)), index.astype(int).ravel()]
    return bool((chosen >= rows.max(axis=1) - gap).all())


def reason(error: CompileError) -> str:
    """The refusal without paths, names and numbers."""
    text = str(error).split(" node(s): ", 1)[-1].split("; expected", 1)[0]
    return re.sub(r"\d+", "N", text.split(": ", 1)[-1])[:90]


def main() -> None:
    """Print the report."""
    done: Counter[str] = Counter()
    why: Counter[str] = Counter()
    for case in cases():
        with TemporaryDirectory() as folder:
            work = Path(folder)
            try:
                prepared = prepare(case, work)
                meaning(prepared)
                done["passed as floats"] += 1
                if "--integers" in sys.argv:
                    integers(prepared, work)
                    done["passed as integers"] += 1
            except Unusable as error:
                done["no such model"] += 1
                why[f"(no model) {error}"] += 1
            except Refused as error:
                done["refused"] += 1
                why[str(error)] += 1
            except Exception as error:  # noqa: BLE001 -- a wrong answer of any kind
                done["WRONG"] += 1
                print("WRONG", case.name, type(error).__name__, " ".join(str(error).split())[:200])
    print(dict(done))
    for text, count in why.most_common():
        print(f"{count:4d}  {text}")


if __name__ == "__main__":
    main()
