# SPDX-License-Identifier: Apache-2.0
"""Activations of 16 bits: every op in golden, on this computer and on emulated cores, against onnxruntime."""

from dataclasses import replace
from fractions import Fraction
from functools import lru_cache

import numpy as np
import pytest
import samples
from int16_nets import SHAPE, quantised
from onnx_nets import Net
from pipeline import same_network
from replay import replay

from tinybound.build import compile as compile_model
from tinybound.checker import check_certificate
from tinybound.errors import CompileError
from tinybound.ops import Add, ArgMax, AveragePool, Concat, Conv, Dense, MaxPool, Mul, Take, Transpose
from tinybound.ops.base import Sample, Scaled
from tinybound.ops.function import Function
from tinybound.options import Options
from tinybound.quantise.requantise import TOLERANCE, multiplier
from tinybound.simulate.boards import BOARDS
from tinybound.simulate.emulated import Emulated
from tinybound.simulate.host import Host
from tinybound.targets.c import generate_c
from tinybound.targets.plan import make_plan

pytestmark = pytest.mark.usefixtures("quick_attack")

KINDS = (Add, ArgMax, AveragePool, Concat, Conv, Dense, MaxPool, Mul, Take, Transpose)
WHOLE = Scaled(Fraction(1, 8192), 0, -32768, 32767)
CORES = ("cortex-m4", "cortex-m0plus", "rv32imc")
MACHINES = [Host(sanitize=True, level="-O0"), *(Emulated(BOARDS[core]) for core in CORES)]


def wide(scale, zero=None):
    """The same reals in steps 256 times as fine."""
    return replace(WHOLE, scale=scale.scale / 256, zero=256 * scale.zero + 77 if zero is None else zero)


def heavy():
    """Layers whose sums need more than 32 bits, and ties: weights at their ends, scales of powers of two."""
    out, two = replace(WHOLE, scale=Fraction(1, 4), zero=-41), replace(WHOLE, scale=Fraction(1, 4))
    rows = np.sign(np.random.default_rng(3).normal(0, 1, (3, 900)) + np.array([[9], [-9], [0]]))
    dense, far = Dense(rows, np.array([3.0, -9.0, 0.0])), replace(WHOLE, zero=31000)
    yield "dense", Sample(dense, ((900,),), (far,), out)
    maps = np.sign(np.random.default_rng(4).normal(0, 1, (2, 30, 3, 3)))
    conv = Conv(maps, np.zeros(2), (30, 4, 5), (1, 2), (1, 1), (1, 1, 0, 1))
    yield "conv", Sample(conv, ((30, 4, 5),), (two,), replace(WHOLE, scale=Fraction(1, 2)))
    same, coarse = Dense(np.eye(4) * 2, np.zeros(4)), replace(WHOLE, scale=Fraction(2))
    yield "ties", Sample(same, ((4,),), (two,), coarse)
    for i, (dilations, pads) in enumerate((((1, 1), (1, 1, 0, 1)), ((1, 2), (2, 3, 1, 2)))):
        each = np.random.default_rng(i).normal(0, 1, (4, 1, 3, 2))
        depthwise = Conv(each, np.ones(4), (4, 5, 6), (2, 1), dilations, pads, 4)
        yield f"depthwise{i}", Sample(depthwise, ((4, 5, 6),), (replace(two, zero=900),), two)
    yield "pool", Sample(AveragePool((1, 4, 2), (4, 2)), ((1, 4, 2),), (two,), replace(two, zero=-3))
    mean = AveragePool((2, 6, 5), (3, 2), (1, 2), (2, 1), (0, 1, 1, 0))  # halves that no multiplier meets
    yield "mean", Sample(mean, ((2, 6, 5),), (replace(two, zero=31000),), replace(two, zero=-3))


def parts():
    """Every op that takes 16 bits, from and to 8 and 16 bits, and sums of more than 32."""
    found = list(heavy())
    for name, sample in samples.all_samples():
        op = sample.float_op
        if isinstance(op, Function) and op.__class__.__name__ in ("Sigmoid", "Gelu"):
            found.append((f"up_{name}", replace(sample, output=wide(sample.output))))
        if not isinstance(op, KINDS) or sample.code == "pool64":
            continue
        long = tuple(map(wide, sample.inputs))
        moves = isinstance(op, ArgMax | MaxPool | Take | Transpose)
        out = sample.output if isinstance(op, ArgMax) else long[0] if moves else wide(sample.output)
        found.append((f"all_{name}", replace(sample, inputs=long, output=out)))
        if not moves:
            found.append((f"down_{name}", replace(sample, inputs=long)))
            found.append((f"up_{name}", replace(sample, output=wide(sample.output, 0))))
        if len(sample.inputs) == 2 and not isinstance(op, Concat):
            found.append((f"mix_{name}", replace(sample, inputs=(long[0], sample.inputs[1]))))
    return found


@lru_cache(maxsize=2)
def network(*, relu):
    whole = samples.build("wide", parts(), relu=relu)[1]
    words = {value.word for value in whole.values.values()}
    assert {"int8", "int16", "int32", "int64"} <= words
    return whole


@pytest.mark.parametrize(
    ("relu", "machine"),
    [
        pytest.param(relu, machine, id=f"{machine.name}{'-relu' if relu else ''}", marks=slow)
        for i, machine in enumerate(MACHINES)
        for relu in (False, True)
        for slow in [pytest.mark.slow if relu == (i == 0) or i > 1 else ()]
    ],
)
def test_every_op_gives_the_golden_integers(relu, machine, tmp_path):
    whole = network(relu=relu)
    x = samples.vectors(whole, 24, 5)
    found = samples.OnMachine(machine)(whole, x, tmp_path)[8]
    wrong, compared, first = samples.mismatches(whole, x, found)
    print(f"{wrong} of {compared} elements differ")
    assert compared > 20_000
    assert wrong == 0, first


def test_words_follow_from_ranges():
    whole = network(relu=False)
    plan, kernels = make_plan(whole), generate_c(whole)["wide.c"]
    for step in plan.steps:
        value = whole.values[step.value]
        assert plan.bytes(step.target) == value.size * plan.words[step.target]
        assert step.target in plan.outputs or plan.words[step.target] == (2 if value.range.bits > 8 else 1)
    for name in ("quads_int16_int8_int32", "quads_int16_int16_int64", "terms_int4_int16_int16_int32"):
        assert f"_16(tb_{name}, " in kernels


def test_products_of_long_sums_stay_below_62_bits():
    rng = np.random.default_rng(0)
    for _ in range(500):
        reach = int(2 ** rng.uniform(20, 45))
        ratio = Fraction(float(rng.uniform(0.5, 1) * 2.0 ** rng.integers(-40, -2)))
        m, s = multiplier(ratio, reach)
        assert 0 < m < 1 << 31
        assert m * reach < 1 << 62
        off = abs(Fraction(m, 1 << s) - ratio)
        assert off / ratio <= Fraction(2, min(1 << 31, (1 << 61) // reach)) or off * reach <= TOLERANCE


@pytest.fixture(scope="module", params=["QUInt16", pytest.param("QInt16", marks=pytest.mark.slow)])
def model(request, tmp_path_factory):
    return quantised(tmp_path_factory.mktemp(request.param), request.param)


def test_golden_is_onnx_runtime_within_one_step(model):
    x = np.random.default_rng(1).normal(0, 1.2, (12, *SHAPE))
    x[0], x[1], x[2] = 9, -9, 0
    seen, graph = replay(model, x, optimise=False)
    assert {graph.values[name].word for name in seen} == {"int16"}
    for name, found in seen.items():
        print(name, found)
        assert found.worst <= 1
        most = 0.1 if "averagepool" in name else 2e-3  # a mean is often a tie, and float32 errors decide it
        assert found.differing <= most * found.compared
        assert found.from_tie < 0.05
    assert sum(found.compared for found in seen.values()) > 20_000
    assert same_network(model) > 0


@pytest.mark.slow
def test_a_network_is_certified_checked_and_verified(model, tmp_path):
    low = np.random.default_rng(1).uniform(-0.5, 0.4, SHAPE)
    np.savez(tmp_path / "box.npz", lower=low, upper=low + 0.05)
    options = Options(target="c", domain=str(tmp_path / "box.npz"))
    build = compile_model(model, tmp_path / "build", options)
    found = check_certificate(tmp_path / "build" / "certificate.json", tmp_path / "build")
    assert found["accepted"], found["reason"]
    (output,) = build.certificate["outputs"].values()
    assert 0 < max(output["attack"]) <= max(output["bound"]) < 0.05
    header = (tmp_path / "build" / "c" / f"{build.artefact.name}.h").read_text()
    assert f"typedef int16_t {build.artefact.name}_input_t;" in header
    verdict = build.verify(["host"])
    assert verdict.ok
    assert build.vectors()["x"].min() == -32768


def test_verilog_is_refused_with_a_remedy(model, tmp_path):
    for target in ("all", "verilog"):
        with pytest.raises(CompileError, match=r"x: activations of 16 bits.*8 bits in Verilog.*--target c"):
            compile_model(model, tmp_path / "build", Options(target=target))
    assert not (tmp_path / "build").exists()


def test_other_rounding_is_refused(model, tmp_path):
    with pytest.raises(CompileError, match="tflite-double with activations of 16 bits"):
        compile_model(model, tmp_path / "build", Options(target="c", requant="tflite-double"))


def test_a_float_model_at_16_bits(tmp_path):
    """Everything is 256 times as fine, and so is the certified error nearly."""
    net = Net("N", 4, 6, 6, opset=21, seed=2)
    y = net.put("Relu", net.put("Conv", "x", net.normal(8, 4, 3, 3), net.normal(8), pads=[1, 1, 1, 1]))
    y = net.put("Sigmoid", net.put("Conv", y, net.normal(8, 8, 3, 3, scale=0.1), net.normal(8)))
    y = net.put("Gemm", net.put("Flatten", y), net.normal(128, 3), net.normal(3))
    path = net.save(tmp_path, net.put("Softmax", y))
    options = Options(target="c", domain="-1,1", activations=16, weights=("pool64",))
    build = compile_model(path, tmp_path / "build", options)
    words = {name: value.word for name, value in build.graph.values.items()}
    print(words)
    assert all(words[name] == "int16" for name in ("x", "relu1", "conv2", "sigmoid3", "gemm5", "softmax6"))
    assert {node.code for node in build.graph.nodes if node.op.weighted} == {"int8"}
    assert build.verify(["host"]).ok
    with pytest.raises(CompileError, match=r"--activations.*8 or 16"):
        Options(activations=12)
