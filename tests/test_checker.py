# SPDX-License-Identifier: Apache-2.0
"""The independent checker: it confirms what the prover claims, its own bounds hold, and it stands alone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from checker_nets import BUNDLED, QUICK, random_build
from onnx_nets import Net
from pair_nets import Pair, ranges, violations

import tinybound.checker
from tinybound.boxes import Box
from tinybound.build import compile as compile_model
from tinybound.certify.certificate import certify
from tinybound.certify.effort import Effort
from tinybound.checker import backward, check_certificate, envelopes
from tinybound.checker.analysis import Analysis
from tinybound.checker.check import KINDS, _domain
from tinybound.checker.crown import Crown
from tinybound.checker.envelopes import Entry
from tinybound.checker.files import read_folder, read_npz, strict_json, tree_hash
from tinybound.checker.float_net import read_float
from tinybound.checker.functions import NAMES, function
from tinybound.checker.integer_net import read_network
from tinybound.checker.layers import Layer
from tinybound.checker.pairs import pair
from tinybound.checker.relax import Envelope, chord
from tinybound.checker.rounding import lattice, rounded
from tinybound.checker.rounding import moved as moved_by
from tinybound.domains import pair_crown
from tinybound.domains.pair_box import Box as Ranges
from tinybound.domains.pair_squares import SPARE
from tinybound.options import Options
from tinybound.passes.run_time_bits import with_bits


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in BUNDLED]
)
def test_it_confirms_the_prover(name, bundled, tmp_path):
    path, build = bundled(name, tmp_path / name)
    answer = check_certificate(path, build.folder)
    assert answer["accepted"], answer["reason"]
    document = json.loads(path.read_text())
    claimed = {key: max(out["bound"]) for key, out in document["outputs"].items()}
    print(f"{name}: prover {document['seconds']} s, checker {answer['seconds']} s, bound {claimed}")
    for key, value in answer["bound"].items():
        assert value <= claimed[key] <= value * (1 + 1e-8 + SPARE)  # what the prover leaves its checker
    assert answer["seconds"] < 2 * document["seconds"] + 2  # a loaded machine may stall one of them


def moved(folder: Path, where: Path) -> Path:
    """A copy of a build."""
    shutil.copytree(folder, where)
    return where


def test_a_tree_of_pieces(bundled, tmp_path):
    path, build = bundled("controller2", tmp_path / "a")
    box = build.domain
    made = certify(
        build.float_graph, build.graph, box.lower, box.upper, hashes={}, effort=Effort(7), budget=500
    )
    path.write_bytes(made.with_hashes(json.loads(path.read_text())["hashes"]).dump())
    for header in (build.folder / "c").glob("*.h"):  # the macros would belong to the whole box
        header.unlink()
    document = json.loads(path.read_text())
    document["hashes"]["c"] = tree_of(build.folder / "c")
    path.write_text(json.dumps(document))
    answer = check_certificate(path, build.folder)
    assert answer["accepted"], answer["reason"]
    assert answer["leaves"] == 7


def test_intervals_alone(bundled, tmp_path):
    """Of a network that is large for `compile`; the checker looks for nothing else then, and for no less."""
    path, build = bundled("controller2", tmp_path)
    best = build.certificate["outputs"]["y"]
    made = build.certify(build.domain, effort=Effort(work=1))
    document = json.loads(path.read_text())
    assert document["method"] == "interval"
    assert set(document["outputs"]["y"]["domains"]) == {"interval"}
    assert document["outputs"]["y"]["bound"] == best["domains"]["interval"]
    answer = check_certificate(path, build.folder)
    assert answer["accepted"], answer["reason"]
    assert made.largest > best["bound"][0]
    for method in ("interval, worst piece", "interval, zonotope, product, crown: the least", "zonotope"):
        path.write_text(json.dumps({**document, "method": method}))
        assert not check_certificate(path, build.folder)["accepted"]
    document["outputs"]["y"]["domains"]["interval"][0] *= 0.99
    path.write_text(json.dumps(document))
    assert "interval bound is not confirmed" in check_certificate(path, build.folder)["reason"]


def tree_of(folder: Path) -> str:
    return tree_hash(read_folder(folder))


def test_a_build_works_wherever_it_is_moved(bundled, tmp_path):
    path, build = bundled("controller2", tmp_path / "a")
    other = moved(build.folder, tmp_path / "else" / "where")
    assert check_certificate(path, other)["accepted"]


@pytest.mark.usefixtures("quick_attack")
@pytest.mark.parametrize(
    "seed", [*range(6), *(pytest.param(s, marks=pytest.mark.slow) for s in range(6, 80))]
)
def test_random_networks(seed, tmp_path):
    """Accepted as proven; and every range of the checker holds the exact values of both networks."""
    build = random_build(seed, tmp_path)
    path = build.folder / "certificate.json"
    answer = check_certificate(path, build.folder)
    assert answer["accepted"], answer["reason"]
    sound(build, json.loads(path.read_text()), 8 if seed % 8 == 6 else None, seed)
    if seed % 8 == 6:
        bits = 2 + seed // 8 % 6
        made = build.certify(bits=bits)
        path = tmp_path / "bits.json"
        path.write_bytes(made.dump())
        answer = check_certificate(path, build.folder)
        assert answer["accepted"], answer["reason"]
        sound(build, json.loads(path.read_text()), bits, seed)


@pytest.mark.usefixtures("quick_attack")
@pytest.mark.parametrize(
    "seed, requant",
    [
        pytest.param(seed, f"tflite-{mode}", marks=pytest.mark.slow if (i + j) % 2 else ())
        for i, seed in enumerate([0, 1, 4, 5, 7])
        for j, mode in enumerate(["single", "double"])
    ],
)
def test_random_networks_as_tflite_rounds(seed, requant, tmp_path):
    build = random_build(seed, tmp_path, requant)
    path = build.folder / "certificate.json"
    answer = check_certificate(path, build.folder)
    assert answer["accepted"], answer["reason"]
    sound(build, json.loads(path.read_text()), None, seed)


SLOWER = [pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2, 4, 5, 6, 7)]


@pytest.mark.usefixtures("quick_attack")
@pytest.mark.parametrize("seed", [0, 3, *SLOWER])
def test_random_networks_of_16_bits(seed, tmp_path):
    build = random_build(seed, tmp_path, activations=16)
    assert "int16" in {value.word for value in build.graph.stored()}
    path = build.folder / "certificate.json"
    answer = check_certificate(path, build.folder)
    assert answer["accepted"], answer["reason"]
    sound(build, json.loads(path.read_text()), None, seed)


def sound(build, document, bits, seed):
    files = {n: (build.folder / n).read_bytes() for n in ("float.onnx", "network.json", "network.npz")}
    arrays = read_npz(files["network.npz"], "")
    whole = read_network(strict_json(files["network.json"], ""), arrays, bits)
    steps = pair(read_float(files["float.onnx"]), whole)
    entries = _domain(document["domain"], whole)
    boxes = {}
    for kind, make in KINDS.items():
        boxes[kind] = {name: Ranges(*box) for name, box in make().run(steps, entries)}
    domain = build.domain
    graph = with_bits(build.graph, 8 if bits is None else bits)
    both = Pair(build.float_graph, graph, domain.lower, domain.upper)
    assert violations(both, boxes, seed, count=30) == set()


@pytest.mark.usefixtures("quick_attack")
@pytest.mark.parametrize("budget", [1 << 34, 1 << 21])
@pytest.mark.parametrize("seed", [3, 5])
def test_the_same_passes_as_the_prover(seed, budget, tmp_path, monkeypatch):
    """A budget that some passes exceed is spent on the same ones: all ranges agree."""
    monkeypatch.setattr(pair_crown, "BUDGET", budget)
    monkeypatch.setattr(backward, "BUDGET", budget)
    build = random_build(seed, tmp_path)
    arrays = read_npz((build.folder / "network.npz").read_bytes(), "")
    whole = read_network(strict_json((build.folder / "network.json").read_bytes(), ""), arrays, None)
    steps = pair(read_float((build.folder / "float.onnx").read_bytes()), whole)
    document = json.loads((build.folder / "certificate.json").read_text())
    theirs = dict(Crown().run(steps, _domain(document["domain"], whole)))
    both = Pair(build.float_graph, build.graph, build.domain.lower, build.domain.upper)
    for name, box in ranges(both, pair_crown.PairCrown()).items():
        mine = np.stack([box.lx, box.ux, box.ly, box.uy, box.ld, box.ud])
        assert np.allclose(theirs[name], mine, rtol=1e-9, atol=1e-12 * np.abs(mine).max())


def _no_rounding(lower, upper, kl, ku):
    return Envelope(0.0, 0.0, kl, ku)


def _floor(n, m, s, mode, zero):
    return (n * m) >> s


def _narrow(low, high, step, span):
    first, last = lattice(low, high, step, span)
    return first + (last - first) // 4, last - (last - first) // 4


def _middle(box, a, out):
    middle = 0.5 * box[::2] + 0.5 * box[1::2]
    value = (a[0] * middle[0]).sum(axis=0)
    out.add(value, np.abs(value), a.shape[1])
    return []


PLANTED = {  # place in the checker -> a wrong rule
    "rounding costs nothing": ("analysis.Envelope", _no_rounding),
    "rounding down": ("analysis.rounded", _floor),
    "lattice too narrow": ("analysis.lattice", _narrow),
    "sums lose their remainders": ("analysis.up", lambda v: v * 0.5),
    "chord through the ends only": ("relax.chord", lambda box, limits: (*chord(box, limits)[:2], 0 * box[0])),
    "rows at the middle of the box": ("nodes._at_ranges", _middle),
    "wrong way to tighten": ("forms.meet", lambda a, b: np.concatenate([a[:4], 0.5 * a[4:]])),
}


@pytest.mark.usefixtures("quick_attack")
@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_is_noticed(name, tmp_path, monkeypatch):
    """A wrong rule in the checker: some exact value of a small network leaves its ranges."""
    build = random_build(0, tmp_path)
    document = json.loads((build.folder / "certificate.json").read_text())
    sound(build, document, None, 0)
    place, wrong = PLANTED[name]
    module, attribute = place.split(".")
    for each in (module, "analysis", "envelopes", "forms", "relax"):  # wherever the name is imported
        target = f"tinybound.checker.{each}.{attribute}"
        monkeypatch.setattr(target, wrong, raising=False)
    try:
        with pytest.raises(AssertionError):
            sound(build, document, None, 0)
    finally:
        monkeypatch.undo()


def test_a_first_rounding_that_costs_nothing_is_noticed(tmp_path, monkeypatch):
    """Of TFLite's two. Narrow limits make the multiplier large: here it costs a quarter of a step."""
    net = Net(1, 1, seed=0, opset=20)
    h = net.put("Gemm", "x", net.normal(1, 40))
    model = net.save(tmp_path, net.put("Clip", h, net.constant(-0.03), net.constant(0.03)))
    options = Options(domain="-1,1", target="c", requant="tflite-double")
    build = compile_model(model, tmp_path / "build", options)
    [(name, value)] = [(n, build.graph.values[n]) for n in build.graph.inputs]
    end = np.full(value.shape, 0.015)
    build.certify(Box({name: -end}, {name: end}))
    document = json.loads((build.folder / "certificate.json").read_text())
    assert build.graph.nodes[-1].op.shift.min() == 32
    sound(build, document, None, 0)
    monkeypatch.setattr(envelopes, "moved", lambda scale, s, mode: moved_by(scale, s, "tflite-single"))
    with pytest.raises(AssertionError):
        sound(build, document, None, 0)


def test_rounding_by_the_law():
    rng = np.random.default_rng(0)
    for reach in (100, 1 << 20, 1 << 45):
        n, m = rng.integers(-reach, reach, 300), rng.integers(1, 1 << 31, 300)
        s = rng.integers(0, 63, 300)
        n[:50], m[:50] = 1 << 20, 1
        s[:50] = rng.integers(19, 23, 50)
        exact = [round(Fraction(int(a) * int(b), 1 << int(c))) for a, b, c in zip(n, m, s, strict=True)]
        keep = [abs(v) < 1 << 62 for v in exact]
        got = rounded(n[keep], m[keep], s[keep], "half-even")
        assert got.tolist() == [v for v, k in zip(exact, keep, strict=True) if k]


@pytest.mark.parametrize("name", sorted(NAMES))
@pytest.mark.parametrize("fields", [{"alpha": 0.2, "beta": 0.5}, {"alpha": -0.7, "beta": 0.1}])
@pytest.mark.parametrize("form", ["none", "tanh"])
def test_slopes_of_functions(name, fields, form):
    """Every difference quotient lies between the slopes."""
    more = {"approximate": form, "factor": 0.75, "offset": -1.5, "scale": 0.5}
    fn = function(Layer("f", name, (), "", {**fields, **more}))
    x = np.concatenate([np.linspace(-9, 9, 40_001), np.linspace(-1.6, 1.6, 4_001)])
    slope = np.diff(fn.value(x)) / np.diff(x)
    slope = slope[((x[:-1] < 0) == (x[1:] < 0)) | (not fn.jumps)]  # there is none across a jump
    assert fn.slopes[0] - 1e-9 <= slope.min()
    assert slope.max() <= fn.slopes[1] + 1e-9


def test_it_stands_alone(bundled, tmp_path):
    """The folder by itself, in a process where nothing of ours can be imported, accepts a certificate."""
    path, build = bundled("digits_mlp", tmp_path / "build")
    shutil.copytree(Path(tinybound.checker.__file__).parent, tmp_path / "alone" / "checker")
    code = f"""
import sys
sys.path = [p for p in sys.path if p] + [{str(tmp_path / "alone")!r}]
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("tinybound", "compiler", "scipy", "onnxruntime"):
            raise ImportError(name)
sys.meta_path.insert(0, Block())
import checker; assert "numpy" not in sys.modules  # checker.__main__ sets the number of its threads first
answer = checker.check_certificate({str(path)!r}, {str(build.folder)!r})
assert answer["accepted"], answer
assert not [n for n in sys.modules if n.split(".")[0] == "tinybound"]
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b"[" * 200_000,
        b"\xff\xfe",
        b'{"format": NaN}',
        b'{"a": 1, "a": 2}',
        b'{"a": ' + b"9" * 9000 + b"}",
    ],
    ids=range(9),
)
def test_malformed_certificates(text, bundled, tmp_path):
    _, build = bundled("controller2", tmp_path / "build")
    path = tmp_path / "certificate.json"
    path.write_bytes(text)
    answer = check_certificate(path, build.folder)
    assert answer["accepted"] is False
    assert answer["reason"]


def test_missing_things(bundled, tmp_path):
    path, build = bundled("controller2", tmp_path / "build")
    assert not check_certificate(tmp_path / "nothing.json", build.folder)["accepted"]
    assert not check_certificate(path, tmp_path / "nothing")["accepted"]
    assert not check_certificate(build.folder, build.folder)["accepted"]


def test_an_entry_beyond_its_integers():
    """A box that the input's integers cannot hold: the quantiser saturates, and the ranges say so."""
    entry = Entry((Fraction(0),), (Fraction(300),), Fraction(1), 0, (1,))
    ((_, box),) = Analysis(intervals=True, zonotope=True).run([], {"x": entry})
    assert box[3, 0] == pytest.approx(127)
    assert box[4, 0] <= -173 + 1e-9
