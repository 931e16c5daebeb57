# SPDX-License-Identifier: Apache-2.0
"""The bound of one combination of outputs in the certificate, and the checker's reading of it."""

from __future__ import annotations

import json
from contextlib import nullcontext

import numpy as np
import pytest
from checker_nets import random_build
from onnx_nets import Net

from tinybound.build import compile as compile_model
from tinybound.certify import certificate
from tinybound.certify.effort import Effort
from tinybound.certify.objective import LARGEST, parse_objective
from tinybound.checker import check, check_certificate
from tinybound.checker.claims import Claim
from tinybound.checker.files import Rejected
from tinybound.checker.objective import Objective, check_objective
from tinybound.options import Options


def two_outputs(folder):
    """Logits of a Softmax, and a second head that shares its layers."""
    net = Net(1, 3, seed=5)
    h = net.put("Relu", net.put("Gemm", "x", net.normal(3, 6), net.normal(6)))
    logits = net.put("Gemm", h, net.normal(6, 3), net.normal(3))
    model = net.save(folder, net.put("Softmax", logits, axis=1), net.put("Gemm", h, net.normal(6, 2)))
    return compile_model(model, folder / "build", Options(domain="-0.2,0.3", target="c"))


def weights_of(build, seed=0):
    """Signed and of very different sizes."""
    rng = np.random.default_rng(seed)
    shapes = {name: build.graph.values[name].shape for name in build.graph.outputs}
    return {name: rng.normal(size=shape) * 10.0 ** rng.integers(-2, 3) for name, shape in shapes.items()}


def checked(build):
    return check_certificate(build.folder / "certificate.json", build.folder)


SLOW = [
    (5, 8, True),
    *((seed, bits, single) for seed, bits in ((0, 8), (2, 8), (3, 8), (7, 8), (1, 16)) for single in (0, 1)),
]


@pytest.mark.parametrize(
    "seed, activations, single",
    [(1, 8, False), *(pytest.param(*how, marks=pytest.mark.slow) for how in SLOW)],
)
def test_the_checker_confirms_it(seed, activations, single, tmp_path):
    build = random_build(seed, tmp_path, activations=activations)
    said = build.certify(weights=weights_of(build, seed), single=single).fields["objective"]
    answer = checked(build)
    assert answer["accepted"], answer["reason"]
    assert 0 < said["attack"] <= said["bound"]


@pytest.mark.slow
def test_of_two_outputs_and_of_pieces(tmp_path):
    """Cut in pieces, the elements have bounds that may be less than what they share over the whole box."""
    build = two_outputs(tmp_path)
    weights = weights_of(build)
    whole = build.certify(weights=weights).fields["objective"]
    assert checked(build)["accepted"]
    cut = build.certify(weights=weights, effort=Effort(40))
    assert checked(build)["accepted"]
    apart = sum(
        float(np.abs(weights[name]).ravel() @ cut.bound[value].ravel()) for name, value in cut.values.items()
    )
    assert cut.fields["objective"]["bound"] <= min(whole["bound"], apart * (1 + 1e-8))


def test_coefficients_of_any_size_that_is_taken(tmp_path):
    """The largest and a small one: nothing overflows, here or in the checker."""
    build = two_outputs(tmp_path)
    shapes = {name: (*build.graph.values[name].shape,) for name in build.graph.outputs}
    first, second = shapes
    text = f"{LARGEST:g}*{first}[0] - {LARGEST:g}*{first}[1] + 1e-30*{second}[0]"
    said = build.certify(weights=parse_objective(text, shapes)).fields["objective"]
    answer = checked(build)
    assert answer["accepted"], answer["reason"]
    assert said["attack"] > 1e-4 * LARGEST


def test_what_two_elements_share_cancels(tmp_path):
    """Twice the same neuron: nothing is left but two roundings."""
    net = Net(1, 2, seed=1)
    h = net.put("Relu", net.put("Gemm", "x", net.normal(2, 5), net.normal(5)))
    model = net.save(tmp_path, net.put("Gemm", h, net.constant(np.repeat(net.rng.normal(size=(5, 1)), 2, 1))))
    build = compile_model(model, tmp_path / "build", Options(domain="-1,1", target="c"))
    (out,) = build.graph.outputs
    made = build.certify(weights={out: np.array([1.0, -1.0])})
    step = float(build.graph.values[out].quant.scale[0])
    assert checked(build)["accepted"]
    assert made.fields["objective"]["bound"] <= 1.001 * step < made.largest


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    build = two_outputs(tmp_path_factory.mktemp("objective"))
    build.certify(weights=weights_of(build))
    return build, json.loads((build.folder / "certificate.json").read_text())


def other_weights(said):
    said["weights"] = {name: [1.5 * w for w in part] for name, part in said["weights"].items()}


FORGED = {
    "lower": lambda said: said.update(lower=0.9 * said["lower"]),
    "upper": lambda said: said.update(upper=0.9 * said["upper"], bound=0.9 * said["upper"]),
    "a little": lambda said: said.update(lower=said["lower"] * (1 - 1e-7)),
    "bound": lambda said: said.update(bound=0.9 * said["bound"]),
    "attack": lambda said: said.update(attack=min(1.01 * said["attack"], said["bound"])),
    "weights": other_weights,
    "no weights": lambda said: said.update(weights={k: [0] * len(v) for k, v in said["weights"].items()}),
    "another output": lambda said: said["weights"].update(z=[1.0]),
    "an output less": lambda said: said["weights"].popitem(),
    "a weight more": lambda said: next(iter(said["weights"].values())).append(1.0),
    "not finite": lambda said: next(iter(said["weights"].values())).__setitem__(0, 1e301),
    "ends exchanged": lambda said: said.update(lower=said["upper"], upper=said["lower"]),
    "witness": lambda said: said.update(witness={k: [0.0] * len(v) for k, v in said["witness"].items()}),
    "outside": lambda said: said.update(witness={k: [0.31] * len(v) for k, v in said["witness"].items()}),
    "a field more": lambda said: said.update(text="y[0]"),
    "a field less": lambda said: said.pop("attack"),
    "no number": lambda said: said.update(upper="1"),
}


@pytest.mark.parametrize("name", FORGED)
def test_what_is_forged_is_rejected(name, honest, tmp_path):
    build, document = honest
    forged = json.loads(json.dumps(document))
    FORGED[name](forged["objective"])
    assert forged != document
    path = tmp_path / "certificate.json"
    path.write_text(json.dumps(forged))
    answer = check_certificate(path, build.folder)
    assert not answer["accepted"]
    assert "objective" in answer["reason"] or "witness" in answer["reason"]


def test_what_the_elements_bounds_say_counts_and_no_more():
    """Ends are accepted at sum |weight| bound, and not inside of it, where the ranges are wider."""
    bound = np.array([0.5, 0.25])
    claim = Claim("y", "y", bound, 0 * bound, 0, {}, {})
    wide = np.array([[-9.0], [9.0]] * 3)
    for end, fits in ((1.75, False), (1.999, False), (2.001, True)):
        for lower, upper in ((-end, 3.0), (-3.0, end)):
            said = Objective(np.array([3.0, -2.0]), lower, upper, max(upper, -lower), 0.0, {})
            with nullcontext() if fits else pytest.raises(Rejected, match="objective: claimed"):
                check_objective(said, [claim], wide)


def test_a_wrong_rule_is_noticed(tmp_path, monkeypatch):
    """Of the prover by the checker; of the checker by what it then accepts."""
    build = two_outputs(tmp_path)
    true = certificate.ends_of
    monkeypatch.setattr(certificate, "ends_of", lambda *args: tuple(0.99 * end for end in true(*args)))
    build.certify(weights=weights_of(build))
    assert "objective: claimed" in checked(build)["reason"]
    monkeypatch.setattr(check, "check_objective", lambda *args: None)
    assert checked(build)["accepted"]


def test_without_it_the_certificate_is_what_it_was(honest, tmp_path):
    """It adds to the certificate and takes nothing from it."""
    build, document = honest
    path = tmp_path / "certificate.json"
    path.write_text(json.dumps({key: value for key, value in document.items() if key != "objective"}))
    assert check_certificate(path, build.folder)["accepted"]
