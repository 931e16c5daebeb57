# SPDX-License-Identifier: Apache-2.0
"""The integer softmax stays within the error that the certificate adds to half the logit bound."""

from fractions import Fraction

import numpy as np
import pytest

import tinybound
from tinybound.checker import check_certificate
from tinybound.domains.exact import Exact, run
from tinybound.domains.pair_softmax import Law
from tinybound.errors import PromiseError
from tinybound.firmware_image import check_budget
from tinybound.ops import Softmax
from tinybound.ops.softmax import exponentials

pytestmark = pytest.mark.usefixtures("quick_attack")


@pytest.mark.parametrize("count", [1, 2, 10, 300])
@pytest.mark.parametrize("scale", [Fraction(1, 200), Fraction(1, 16), Fraction(2)])
def test_error(count, scale):
    rng = np.random.default_rng(count)
    op, real = Softmax(exponentials(scale)), Softmax()
    error = Law.of(op.table, (op.bits, op.extra, op.zero, op.top), Fraction(1, 256), count).error
    worst = 0.0
    rows = [np.full(count, 127), rng.integers(-128, -120, count), *rng.integers(-128, 128, (200, count))]
    for q in rows:
        found = (op.meaning(Exact(), q) + 128) / 256
        worst = max(worst, float(np.abs(found - real.meaning(Exact(), q * float(scale))).max()))
    print(f"{len(rows) * count} probabilities, largest error {worst:.5f} of {error:.5f}")
    assert worst <= error
    assert count == 1 or worst > error / 20  # not idle


def test_the_certificate_bounds_probabilities(examples, tmp_path):
    data = examples / "digits_cnn_calibration.npz"
    image = np.load(examples / "digits_cnn_test.npz")["x"][0].astype(float)
    box = tmp_path / "box.npz"
    np.savez(box, lower=np.clip(image - 0.005, 0, 1), upper=np.clip(image + 0.005, 0, 1))
    options = tinybound.Options(target="c", calibration=data, domain=str(box))
    build = tinybound.compile(examples / "digits_cnn_softmax.onnx", tmp_path / "B", options)
    (entry,) = build.certificate["outputs"].values()

    assert entry["probability_bound"] >= max(entry["bound"]) / 2 + 1 / 256
    rng = np.random.default_rng(0)
    (name,) = build.graph.inputs
    x = rng.uniform(build.domain.lower[name], build.domain.upper[name], (50, *image.shape))
    found = build.predict({name: x})["y"]
    for one, probabilities in zip(x, found, strict=True):
        single = run(build.float_graph, {name: one})[build.float_graph.outputs[0]]
        assert np.abs(single - probabilities).max() <= entry["probability_bound"]


def test_budgets_and_the_header_speak_of_probabilities(examples, tmp_path):
    """Not of the logits, whose bound can be far smaller than the rounding of a probability."""
    data = examples / "digits_cnn_calibration.npz"
    options = tinybound.Options(target="c", calibration=data, domain="0.4,0.4")
    build = tinybound.compile(examples / "digits_cnn_softmax.onnx", tmp_path / "B", options)
    (entry,) = build.certificate["outputs"].values()
    header = (build.folder / "c" / "digits_cnn_softmax.h").read_text()

    assert entry["bound_e9"] >= entry["probability_bound"] * 1e9
    assert f"_CERTIFIED_ERROR_E9 {entry['bound_e9']}\n" in header
    with pytest.raises(PromiseError, match="certified error"):
        check_budget(build, Fraction(entry["probability_bound"]) - Fraction(1, 10**6))
    assert check_budget(build, Fraction(entry["bound_e9"], 10**9))
    assert check_certificate(build.folder / "certificate.json", build.folder)["accepted"]
