# SPDX-License-Identifier: Apache-2.0
"""16 and 8 bits in one network, its header for floats, and planted bugs in the kernels of 16 bits."""

import subprocess

import numpy as np
import pytest
import samples
from onnx import TensorProto
from onnx_nets import Net, session
from pipeline import refused
from test_int16 import network

from tinybound.build import compile as compile_model
from tinybound.checker import check_certificate
from tinybound.domains.exact import run
from tinybound.kernels.choose import _held
from tinybound.options import Options
from tinybound.simulate.golden import quantise
from tinybound.simulate.host import Host
from tinybound.targets.c import generate_c
from tinybound.targets.plan import make_plan

pytestmark = pytest.mark.usefixtures("quick_attack")

MAP = (4, 5, 6)


def mixed(folder, *, outer, inner, two=False, whole=False):
    """Two convolutions and a sum, activations of `outer` and `inner` types; `whole`: uint16 comes in."""
    net = Net(1, *MAP, opset=21, kind=TensorProto.UINT16 if whole else TensorProto.FLOAT)
    middle = {np.int16: 0, np.uint16: 30000, np.uint8: 0, np.int8: 3}
    x = "x"
    if whole:
        x = net.put("DequantizeLinear", x, net.constant(0.0003), net.constant(30000, np.uint16))
    x = net.quantised(x, 2.0**-12 if two else 0.00021, middle[outer], outer)
    scales = 2.0 ** net.rng.integers(-9, -6, 6) if two else net.rng.uniform(0.002, 0.01, 6)
    y = net.put("Conv", x, net.weights(net.rng.integers(-127, 128, (6, 4, 3, 3)), scales), pads=[1] * 4)
    y = net.quantised(net.put("Relu", y), 2.0**-10 if two else 0.0013, 0, inner)
    w = net.weights(net.rng.integers(-127, 128, (6, 6, 1, 1)), 2.0**-8 if two else 0.003)
    z = net.quantised(net.put("Conv", y, w), 2.0**-9 if two else 0.002, -7, np.int8)
    return net.save(folder, net.quantised(net.put("Add", y, z), 2.0**-9 if two else 0.0017, 5, np.int16))


CASES = {
    "uint16": {"outer": np.uint16, "inner": np.uint16},
    "uint16 integers": {"outer": np.uint16, "inner": np.uint16, "whole": True},
    "16 to 8": {"outer": np.int16, "inner": np.uint8},
    "8 to 16": {"outer": np.int8, "inner": np.int16},
    "powers of two": {"outer": np.int16, "inner": np.int16, "two": True},
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if i in (1, 4) else pytest.mark.slow) for i, name in enumerate(CASES)],
)
def test_mixed_networks(name, tmp_path):
    """C equals golden; golden is ONNX Runtime's, exactly where all scales are powers of two."""
    path = mixed(tmp_path, **CASES[name])
    low = np.random.default_rng(1).uniform(-0.5, 0.4, MAP)
    np.savez(tmp_path / "box.npz", lower=low, upper=low + 0.05)
    build = compile_model(path, tmp_path / "build", Options(target="c", domain=str(tmp_path / "box.npz")))
    found = check_certificate(build.folder / "certificate.json", build.folder)
    assert found["accepted"], found["reason"]
    assert build.verify(["host"]).ok
    words = {value.word for value in build.graph.stored()}
    assert words == {"int8", "int16"}
    (output,), reference, rng = build.graph.outputs, session(path), np.random.default_rng(0)
    source, unit = build.graph.values["x"], build.graph.values[output].quant
    differing = compared = 0
    for _ in range(12):
        q = rng.integers(source.ends[0], source.ends[1] + 1, MAP)
        real = ((q - source.quant.zero) * float(source.quant.scale[0])).astype(np.float32)
        feed = (q + 32768).astype(np.uint16) if CASES[name].get("whole") else real
        theirs = reference.run(None, {"x": feed[None]})[0][0] / float(unit.scale[0])
        gap = np.abs(theirs - (run(build.graph, {"x": q})[output] - unit.zero))
        assert gap.max() < 1.01
        differing, compared = differing + int((gap > 0.01).sum()), compared + gap.size
    print(f"{differing} of {compared} outputs differ")
    assert differing <= (0 if CASES[name].get("two") else 5)


@pytest.mark.parametrize("kind", [np.int8, np.int16])
def test_a_zero_point_that_a_clip_cuts_off(kind, tmp_path):
    """The range fits 8 bits, the zero point does not: padding reads it."""
    net = Net(1, *MAP, opset=21)
    x = net.quantised("x", 0.01, 3, np.int8)
    x = net.quantised(net.put("Clip", x, net.constant(0.5), net.constant(0.6)), 0.001, -550, np.int16)
    w = net.weights(net.rng.integers(-127, 128, (8, 4, 3, 3)), net.rng.uniform(0.002, 0.01, 8))
    y = net.put("Conv", x, w, pads=[1] * 4)
    path = net.save(tmp_path, net.quantised(y, 0.02, -7, kind))
    options = Options(target="c", domain="0.4,0.7")
    build = compile_model(path, tmp_path / "build", options)
    clipped = build.graph.values["clip2"]
    assert (clipped.range.lo, clipped.range.hi, clipped.word) == (-50, 50, "int16")
    assert build.verify(["host"]).ok
    found = check_certificate(build.folder / "certificate.json", build.folder)
    assert found["accepted"], found["reason"]


def test_sums_of_what_a_clip_leaves_in_8_bits(tmp_path):
    """All sums fit 32 bits, partial ones do not."""
    net = Net(1, 60, opset=21)
    x = net.quantised("x", 2.0**-10, 0, np.int16)
    x = net.put("Clip", x, net.constant(100 / 1024), net.constant(120 / 1024))
    x = net.quantised(x, 2.0**-10, 0, np.int16)
    w = net.weights(np.repeat([[127, -127]], 30, axis=0).T.reshape(60, 1), 2.0**-7)
    bias = net.weights(np.array([2**31 - 200_000]), 2.0**-17, dtype=np.int32)
    path = net.save(tmp_path, net.quantised(net.put("Gemm", x, w, bias), 1.37, 11, np.int8))
    refused(path, "do not fit the 32-bit accumulator")


@pytest.mark.parametrize("kind", [np.int8, np.int16])
def test_a_constant_joined_to_16_bits(kind, tmp_path):
    """It is a bias on zeros, whose integers need 8 bits: sums of 32 must do."""
    net = Net(1, *MAP, opset=21)
    x = net.quantised("x", 2.0**-14, 20, np.int16)
    y = net.put("Concat", x, net.constant(np.full((1, 1, 5, 6), 100)), axis=1)
    path = net.save(tmp_path, net.quantised(y, 1.0 if kind == np.int8 else 2.0**-7, 0, kind))
    build = compile_model(path, tmp_path / "build", Options(target="c", domain="-1,1"))
    assert build.verify(["host"]).ok
    found = check_certificate(build.folder / "certificate.json", build.folder)
    assert found["accepted"], found["reason"]


def test_the_last_position_of_16_bits_is_no_padding(tmp_path):
    """Nor has an arena of no bytes one of two."""
    net = Net(1, 1 << 16, opset=21)
    x = net.quantised("x", 0.001, 5, np.int16)
    y = net.put("Gather", x, net.constant([65_535, 65_534, 0, 7, 40_000, 123], np.int64), axis=1)
    path = net.save(tmp_path, net.quantised(y, 0.001, 5, np.int16))
    build = compile_model(path, tmp_path / "build", Options(target="c"))
    assert build.verify(["host"]).ok


MAIN = """#include <stdio.h>
#include "net_float.h"
int main(void)
{
  float x[net_INPUT_SIZE], y[net_OUTPUT_SIZE];
  net_input_t q[net_INPUT_SIZE];
  net_output_t out[net_OUTPUT_SIZE];
  while (fread(x, sizeof x, 1, stdin) == 1) {
    int32_t inside = net_quantise(x, q);
    if (net_run(q, out) != 0) { return 1; }
    net_dequantise(out, y);
    fwrite(&inside, sizeof inside, 1, stdout);
    fwrite(q, sizeof q, 1, stdout);
    fwrite(y, sizeof y, 1, stdout);
  }
  return 0;
}
"""


def test_the_header_for_floats(tmp_path):
    """Halves of a step, ends and far beyond, NaN: integers as golden quantises; outputs as real numbers."""
    build = compile_model(mixed(tmp_path, **CASES["uint16"]), tmp_path / "build", Options(target="c"))
    source, (output,) = build.graph.values["x"], build.graph.outputs
    scale, zero, size = float(source.quant.scale[0]), source.quant.zero, source.size
    rng = np.random.default_rng(2)
    steps = rng.integers(-32780, 32780, (40, size)) + rng.choice([0, 0.5, 0.499], (40, size)) - zero
    x = (steps * scale).astype(np.float32)
    x[0], x[1], x[2] = 3.4e38, -3.4e38, 0
    (tmp_path / "main.c").write_text(MAIN)
    c = build.folder / "c"
    strict = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wshadow", "-pedantic"]
    program = tmp_path / "main"
    files = [tmp_path / "main.c", c / "net.c"]
    subprocess.run(["gcc", *strict, f"-I{c}", *files, "-lm", "-o", program], check=True)
    done = subprocess.run([program], input=x.tobytes(), capture_output=True, check=True)
    record = np.dtype([("inside", "<i4"), ("q", "<i2", size), ("y", "<f4", build.graph.values[output].size)])
    found = np.frombuffer(done.stdout, record)
    want = quantise(source, x.astype(np.float64))
    np.testing.assert_array_equal(found["q"], want)
    low, high = ((end - zero) * scale for end in source.ends)
    ends = np.float32(low), np.float32(high)
    np.testing.assert_array_equal(found["inside"], ((x >= ends[0]) & (x <= ends[1])).all(axis=1))
    unit = build.graph.values[output].quant
    for q, y in zip(want, found["y"], strict=True):
        whole = run(build.graph, {"x": q.reshape(MAP)})[output].ravel()
        np.testing.assert_allclose(y, (whole - unit.zero) * float(unit.scale[0]), rtol=1e-6)


PLANTED = {
    "a maximum of 8 bits": ("best = INT16_MIN", "best = INT8_MIN"),
    "padding one step off": ("SUM, pad, tb_scale", "SUM, pad + 1, tb_scale"),
    "sums of 32 bits": ("tb_long_product(acc, r->mult", "tb_long_product((int32_t)acc, r->mult"),
    "outputs of 8 bits": ("return r->hi - (int32_t)less;", "return (int8_t)(r->hi - (int32_t)less);"),
    "half up": ("tb_half_even(v, s)", "((v + (((int64_t)1 << s) >> 1)) >> s)"),
    "a mean without its first rounding": ("if (r->roundings) {", "if (0) {"),
    "moves of 8 bits": (": (OUT)in[from[i]]", ": (OUT)(int8_t)in[from[i]]"),
    "a mean around another zero": ("(SUM)zero", "(SUM)(int8_t)zero"),
    "a comparison the other way": ("- top - 1 + last) >> 31)", "- top - last) >> 31)"),
    "a join of 8 bits": ("out[k] = (OUT)*in++", "out[k] = (OUT)(int8_t)*in++"),
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if i in (2, 4, 5) else pytest.mark.slow) for i, name in enumerate(PLANTED)],
)
def test_a_planted_bug_is_seen(name, tmp_path):
    whole, (right, wrong) = network(relu=False), PLANTED[name]
    texts = generate_c(whole)
    assert right in texts["tb_int16.h"]
    texts["tb_int16.h"] = texts["tb_int16.h"].replace(right, wrong)
    x = samples.vectors(whole, 24, 5)
    found = samples.OnMachine(Host(level="-O0"))(whole, x, tmp_path, texts=texts)[8]
    assert samples.mismatches(whole, x, found)[0] > 0


def test_kernels_are_weighed_against_maps_in_bytes():
    """An element of 16 bits has two: --optimise size and --max-ram see what the arena holds."""
    plan = make_plan(network(relu=True))
    inner = [step for step in plan.steps if step.target not in plan.outputs and plan.words[step.target] == 2]
    assert inner
    for step in inner:
        assert _held(plan)[step.index] >= plan.bytes(step.target)
