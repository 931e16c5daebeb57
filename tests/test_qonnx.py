# SPDX-License-Identifier: Apache-2.0
"""QONNX files against the published rule of their quantisers, in numpy inside onnx's reference evaluator."""

from fractions import Fraction

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from onnx_nets import Net
from pipeline import refused, same_network
from test_quantised_forms import differences, domain

from tinybound.build import compile as compile_model
from tinybound.checker import check_certificate
from tinybound.frontends import load_onnx
from tinybound.options import Options

pytestmark = pytest.mark.usefixtures("quick_attack")

DOMAINS = ("qonnx.custom_op.general", "finn.custom_op.general", "onnx.brevitas")
MAP = (1, 4, 6, 6)


def away(x):
    """Whole numbers away from zero."""
    return np.sign(x) * np.ceil(np.abs(x))


def halves(x, to_zero):
    low = np.floor(np.abs(x))
    rest = np.abs(x) - low
    return np.sign(x) * (low + ((rest > 0.5) if to_zero else (rest >= 0.5)))


ROUND = {
    "ROUND": np.round, "HALF_EVEN": np.round, "CEIL": np.ceil, "FLOOR": np.floor, "UP": away, "DOWN": np.fix,
    "HALF_UP": lambda x: halves(x, False), "HALF_DOWN": lambda x: halves(x, True),
}  # fmt: skip


def quant(x, scale, zero, bits, signed=1, narrow=0, rounding_mode="ROUND"):
    """Scale, add the zero point, clamp, round, and back; one bit with a sign is the sign."""
    y, bits = x / scale + zero, int(np.asarray(bits).ravel()[0])
    if bits == 1 and signed:
        return ((np.where(y >= 0, 1, -1) - zero) * scale).astype(np.float32)
    lowest = -(2 ** (bits - 1)) + narrow if signed else 0
    highest = 2 ** (bits - 1) - 1 if signed else 2**bits - 1 - narrow
    q = ROUND[rounding_mode](np.clip(y, lowest, highest))
    return ((q - zero) * scale).astype(np.float32)


def operators(name):
    """Quant and BipolarQuant of a domain for the reference evaluator."""

    class Quant(OpRun):
        op_domain = name

        def _run(self, x, scale, zero, bits, signed=1, narrow=0, rounding_mode="ROUND"):
            return (quant(x, scale, zero, bits, signed, narrow, rounding_mode),)

    class IntQuant(Quant):
        op_domain = name

    class BipolarQuant(OpRun):
        op_domain = name

        def _run(self, x, scale):
            return ((np.where(x >= 0, 1, -1) * scale).astype(np.float32),)

    return [Quant, IntQuant, BipolarQuant]


class Quants:
    """Writes QONNX nodes into a Net."""

    def __init__(self, shape, domain=DOMAINS[0], op="Quant", seed=0):
        self.net, self.domain, self.op, self.shape = Net(*shape, seed=seed), domain, op, shape

    def quant(self, x, scale, bits, zero=0.0, **attributes):
        net = self.net
        inputs = (net.constant(scale), net.constant(zero), net.constant(float(bits)))
        return self.put(self.op, x, *inputs, **attributes)

    def put(self, op, *inputs, **attributes):
        y = self.net.put(op, *inputs, **attributes)
        self.net.nodes[-1].domain = self.domain
        return y

    def save(self, folder, y):
        model = self.net.model(y, infer=False)
        model.graph.output[0].CopyFrom(helper.make_tensor_value_info(y, 1, [None] * len(self.shape)))
        model.opset_import.append(helper.make_opsetid(self.domain, 1))
        path = folder / "net.onnx"
        onnx.save(model, str(path))
        return path

    def reference(self, path):
        return ReferenceEvaluator(str(path), new_ops=operators(self.domain))


def conv(t, x, bits=4, scale=None, **attributes):
    scale = 0.125 if scale is None else scale
    return t.net.put("Conv", x, t.quant(t.net.normal(4, 4, 3, 3), scale, bits, **attributes), pads=[1] * 4)


def channels(t, *shape):
    return (2.0 ** t.net.rng.integers(-5, -1, shape)).astype(np.float32)


def bipolar(t, x):
    w = t.put("BipolarQuant", t.net.normal(4, 4, 3, 3), t.net.constant(0.25))
    return t.net.put("Conv", x, w, pads=[1] * 4)


def linear(t, x, transpose):
    """As Brevitas writes a linear layer: Gemm with transB, or the weights through a Transpose."""
    x = t.net.put("Flatten", x)
    w = t.quant(t.net.normal(5, 144), channels(t, 5, 1), 3, narrow=1)
    if transpose:
        return t.net.put("MatMul", x, t.net.put("Transpose", w, perm=[1, 0]))
    return t.net.put("Gemm", x, w, t.quant(t.net.normal(5), 0.25, 16), transB=1)


def relu(t, x, bits=4):
    return t.quant(t.net.put("Relu", x), 0.5, bits, signed=0)


FORMS = {
    "8 bits": lambda t, x: t.quant(conv(t, x, 8), 0.25, 8),
    "4 bits": lambda t, x: t.quant(conv(t, x), 0.5, 4),
    "narrow": lambda t, x: t.quant(conv(t, x, 4, narrow=1), 0.5, 4, narrow=1),
    "unsigned behind relu": lambda t, x: relu(t, conv(t, x)),
    "unsigned and narrow": lambda t, x: t.quant(t.net.put("Relu", conv(t, x)), 0.5, 3, signed=0, narrow=1),
    "unsigned without relu": lambda t, x: t.quant(conv(t, x), 0.5, 4, signed=0),
    "one bit": lambda t, x: t.quant(t.net.put("Relu", conv(t, x, 2)), 1.0, 1, signed=0),
    "an even zero point": lambda t, x: t.quant(conv(t, x), 0.25, 6, zero=-4.0),
    "scales per channel": lambda t, x: t.quant(conv(t, x, 3, channels(t, 4, 1, 1, 1)), 0.5, 8),
    "weights of one bit": lambda t, x: t.quant(conv(t, x, 1), 0.5, 8),
    "weights of one bit, narrow": lambda t, x: t.quant(conv(t, x, 1, narrow=1), 0.5, 8),
    "weights of one bit and a zero point": lambda t, x: t.quant(conv(t, x, 1, zero=1.0), 0.5, 8),
    "bipolar weights": lambda t, x: t.quant(bipolar(t, x), 0.5, 8),
    "weights with a zero point": lambda t, x: t.quant(conv(t, x, 4, zero=3.0), 0.5, 8),
    "gemm and a bias of 16 bits": lambda t, x: t.quant(linear(t, relu(t, conv(t, x)), False), 0.5, 8),
    "matmul by transposed weights": lambda t, x: t.quant(linear(t, relu(t, conv(t, x)), True), 0.5, 8),
    "two layers and a pool": lambda t, x: t.quant(conv(t, t.net.put(
        "MaxPool", relu(t, conv(t, x), 3), kernel_shape=[2, 2], strides=[2, 2]), 2), 0.5, 5),
    **{f"weights rounded {mode}": lambda t, x, mode=mode: t.quant(
        conv(t, x, 4, rounding_mode=mode), 0.5, 8) for mode in ROUND},
}  # fmt: skip


def saved(form, tmp_path, where=DOMAINS[0], op="Quant"):
    t = Quants(MAP, where, op)
    y = FORMS[form](t, t.quant("x", 1 / 16, 8))
    t.shape = MAP if t.net.nodes[-2].op_type not in ("Gemm", "MatMul") else (1, 5)
    return t, t.save(tmp_path, y)


@pytest.mark.parametrize("form", FORMS)
def test_no_integer_differs_at_scales_of_powers_of_two(form, tmp_path):
    t, path = saved(form, tmp_path)

    differing, compared, _, _ = differences(path, MAP, reference=t.reference(path))

    assert differing == 0
    assert compared >= 100
    assert same_network(path) > 0


def test_the_bit_width_is_what_is_stored(tmp_path):
    for form, ends in (("4 bits", (-8, 7)), ("narrow", (-7, 7)), ("unsigned behind relu", (-128, -113))):
        _, path = saved(form, tmp_path)
        found = [(s.lo, s.hi) for s in load_onnx(path).activations.values()]
        assert found == [(-128, 127), ends]


@pytest.mark.parametrize("op", ["Quant", "IntQuant"])
@pytest.mark.parametrize("where", DOMAINS)
def test_domains(where, op, tmp_path):
    t, path = saved("4 bits", tmp_path, where, op)
    differing, compared, _, _ = differences(path, MAP, reference=t.reference(path))
    assert (differing, compared) == (0, 2880)
    assert same_network(path) == 2


def test_a_domain_that_the_file_does_not_import(tmp_path):
    """As Brevitas writes it."""
    _, path = saved("4 bits", tmp_path, "onnx.brevitas")
    model = onnx.load(str(path))
    del model.opset_import[1:]
    onnx.save(model, str(path))
    assert same_network(path) == 2


@pytest.mark.parametrize("op", ["Sqrt", "Pow"])
def test_a_square_root_of_constants_is_the_nearest_double(op, tmp_path):
    """Brevitas' TensorNorm divides by one; here it multiplies."""
    net = Net(1, 6)
    variance = net.rng.uniform(0.1, 9, 6).astype(np.float32)
    more = [net.constant(0.5)] if op == "Pow" else []
    y = net.put("Gemm", "x", net.constant(np.eye(6)))
    path = net.save(tmp_path, net.put("Mul", y, net.put(op, net.constant(variance), *more)))
    weights = load_onnx(path).graph.nodes[0].op.weights
    for v, root in zip(variance.tolist(), np.diag(weights).tolist(), strict=True):
        exact = Fraction(v)
        assert abs(Fraction(root) ** 2 - exact) < 2 * Fraction(1, 2**53) * exact
    assert same_network(path) == 2


@pytest.mark.parametrize(
    ("op", "base", "exponent"), [("Pow", 2.0, 0.25), ("Pow", -2.0, 0.5), ("Sqrt", 0.0, None)]
)
def test_other_powers_are_refused(op, base, exponent, tmp_path):
    net = Net(1, 6)
    more = [] if exponent is None else [net.constant(exponent)]
    root = net.put(op, net.constant(np.full(6, base)), *more, name="odd")
    refused(net.save(tmp_path, net.put("Mul", "x", root)), f"odd: {op} of real constants")


def test_weights_keep_their_integers(tmp_path):
    for form, levels in (("bipolar weights", [-1, 1]), ("weights of one bit", [-1, 1])):
        _, path = saved(form, tmp_path)
        (weights,) = load_onnx(path).weights.values()
        assert np.unique(weights.integers).tolist() == levels
    _, path = saved("matmul by transposed weights", tmp_path)
    first, second = load_onnx(path).weights.values()
    assert (np.abs(first.integers).max(), np.abs(second.integers).max()) == (8, 3)
    assert second.integers.shape == (5, 144)


def test_random_scales(tmp_path):
    differing = compared = 0
    for seed in range(6):
        t = Quants(MAP, seed=seed)
        s = t.net.rng.uniform(0.02, 0.5, 4)
        y = t.quant(conv(t, t.quant("x", s[0], 8), 5, s[1]), s[2], 6)
        path = t.save(tmp_path, y)
        wrong, count, worst, _ = differences(path, MAP, reference=t.reference(path))
        assert worst <= 1.01
        assert same_network(path) == 2
        differing, compared = differing + wrong, compared + count
    print(f"{differing} of {compared}")
    assert compared == 17280
    assert differing <= 1e-3 * compared


def test_a_certificate_is_accepted(tmp_path):
    _, path = saved("two layers and a pool", tmp_path)
    compile_model(path, tmp_path / "build", Options(domain=domain(MAP, tmp_path), target="c"))
    found = check_certificate(tmp_path / "build" / "certificate.json", tmp_path / "build")
    assert found["accepted"], found["reason"]


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda t: t.quant("x", 0.1, 9), "odd: activations from -256 to 255"),
        (lambda t: t.quant("x", 0.1, 1, zero=1.0), "odd: activations from -1 to 0"),
        (lambda t: t.quant("x", 0.1, 2.5), "odd: bit widths"),
        (lambda t: t.quant("x", [0.1] * 6, 4), "odd: an activation quantised per axis"),
        (lambda t: t.quant("x", 0.0, 4), "odd: a scale that is not positive"),
        (lambda t: t.quant(t.net.normal(3), -0.5, 4), "odd: a scale that is not positive"),
        (lambda t: t.quant("x", 0.1, 4, zero=0.5), "odd: a zero point that is not an integer"),
        (lambda t: t.quant("x", 0.1, 4, zero=200.0), "odd: zero point 200"),
        (lambda t: t.quant("x", 0.1, 4, rounding_mode="FLOOR"), "odd: rounding_mode = FLOOR of an"),
        (lambda t: t.quant("x", 0.1, 4, rounding_mode="ODD"), "odd: rounding_mode = ODD .*one of ROUND"),
        (lambda t: t.put("BipolarQuant", "x", t.net.constant([1, 2])), "odd: an activation quantised per"),
        (lambda t: t.put("BipolarQuant", "x", t.net.constant(0.0)), "odd: a scale that is not positive"),
        (lambda t: t.put("Trunc", "x", *(t.net.constant(v) for v in (0.1, 0.0, 17.0, 9.0))),
         "odd: a Trunc of 17 bits without a quantiser"),
        (lambda t: t.quant(t.net.constant(np.ones((4, 6))), np.ones((4, 6)), 4), "odd: scales of shape"),
        (lambda t: t.quant(t.net.constant(np.full(3, 1e9)), 1.0, 32), "odd: quantised constants of 30 bits"),
    ],
)  # fmt: skip
def test_what_is_refused_by_name(write, message, tmp_path):
    t = Quants(MAP)
    y = write(t)
    t.net.nodes[-1].name = "odd"
    refused(t.save(tmp_path, t.net.put("Add", "x", y)), message)


def truncated(x, scale, zero, bits, *rest, signed=1, narrow=0, rounding_mode="FLOOR"):
    """Both versions, by the published rule: round, divide, (clamp,) round again."""
    q = np.round(x.astype(np.float64) / scale + zero)
    if len(rest) == 1:
        m = ROUND[rounding_mode](q / 2.0 ** (bits - rest[0]))
        return ((m - zero) * scale).astype(np.float32)
    out_scale, out_bits = rest
    divisor = 2.0 ** np.round(np.log2(out_scale / scale))
    lowest, highest = (-(2 ** (out_bits - 1)) + narrow, 2 ** (out_bits - 1) - 1) if signed else (
        0, 2**out_bits - 1 - narrow)  # fmt: skip
    m = ROUND[rounding_mode](np.clip(q / divisor, lowest, highest))
    return ((m - zero / divisor) * out_scale).astype(np.float32)


TRUNCS = {  # quantiser in front (bits, zero, signed) or None, the Trunc's numbers, attributes
    "floor": ((8, 0, 1), (0.0625, 0, 8, 4), {}),
    "ceil": ((8, 0, 1), (0.0625, 0, 8, 5), {"rounding_mode": "CEIL"}),
    "round, with an odd zero point": ((8, 3, 1), (0.0625, 3, 8, 6), {"rounding_mode": "ROUND"}),
    "unsigned": ((8, 0, 0), (0.0625, 0, 8, 7), {"rounding_mode": "ROUND"}),
    "nothing in front": (None, (0.0625, 0, 7, 4), {}),
    "to another scale": ((8, 0, 1), (0.0625, 0, 8, 0.25, 6), {}),
    "to another scale, clamped": ((8, 4, 1), (0.0625, 4, 8, 0.25, 4), {"narrow": 1,
                                                                       "rounding_mode": "ROUND"}),
    "unsigned, to another scale": ((8, 0, 0), (0.0625, 0, 8, 0.5, 4), {"signed": 0, "rounding_mode": "CEIL"}),
}  # fmt: skip


@pytest.mark.parametrize("form", TRUNCS)
def test_trunc_rounds_in_its_own_order(form, tmp_path):
    before, numbers, attributes = TRUNCS[form]
    t = Quants((1, 40))
    x = "x" if before is None else t.quant("x", 0.0625, before[0], float(before[1]), signed=before[2])
    y = t.put("Trunc", x, *(t.net.constant(n) for n in numbers), **attributes)
    path = t.save(tmp_path, y)
    build = compile_model(path, tmp_path / "build", Options(target="c", domain="-9,9"))
    real = np.random.default_rng(1).integers(-160, 160, (80, 40)) / 16.0

    shown = build.simulate({"x": real})
    (name,) = build.graph.outputs
    q = real if before is None else quant(real, 0.0625, before[1], before[0], before[2])
    if before is None:
        q = np.clip(real, -8, 127 / 16)
    want = truncated(q, *numbers, **attributes)

    np.testing.assert_array_equal(shown[name].ravel(), want.ravel().astype(np.float64))
    assert same_network(path)
    if form in [*TRUNCS][::3]:
        assert build.verify(["host"]).ok
    found = check_certificate(tmp_path / "build" / "certificate.json", tmp_path / "build")
    assert found["accepted"], found["reason"]


@pytest.mark.parametrize(
    ("numbers", "attributes", "message"),
    [
        ((0.0625, 0, 16, 8), {}, "16 bits without a quantiser in front"),
        ((0.0625, 0, 7, 4), {"rounding_mode": "UP"}, "rounding_mode = UP"),
        ((0.0625, 0.5, 7, 4), {}, "whole numbers"),
        ((0.0625, 0, 4, 7), {}, "0 to 8 bits fewer"),
        ((0.0625, 1, 8, 0.25, 6), {}, "multiple of the input's"),
    ],
)
def test_what_of_trunc_is_refused(numbers, attributes, message, tmp_path):
    t = Quants((1, 4))
    y = t.put("Trunc", "x", *(t.net.constant(n) for n in numbers), **attributes)
    refused(t.save(tmp_path, y), message)
