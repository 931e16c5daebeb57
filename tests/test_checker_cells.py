# SPDX-License-Identifier: Apache-2.0
"""The checker confirms bounds whose pieces are enumerated cell by cell, and inputs on the grid."""

from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
import pytest
from onnx_nets import Net

from tinybound.boxes import Box
from tinybound.build import compile as compile_model
from tinybound.certify import best_first
from tinybound.certify.batch import evaluate
from tinybound.certify.effort import Effort
from tinybound.checker import check_certificate, cover, halves
from tinybound.checker.envelopes import Entry
from tinybound.checker.files import Rejected
from tinybound.errors import CompileError
from tinybound.options import Options


@pytest.mark.parametrize("count, cells", [(12, 1 << 9), (40, 1 << 16)])
def test_leaves_by_cells(count, cells, bundled, tmp_path, monkeypatch):
    """A tree of pieces by both methods, and one of enumerated pieces alone; far closer than the product."""
    if cells < 1 << 10:  # as of deep networks
        monkeypatch.setattr("tinybound.certify.grow.shallow", lambda _: False)
    path, build = bundled("controller2", tmp_path / "a")
    before = json.loads(path.read_text())
    end = np.full(build.domain.lower["x"].shape, 0.25)
    made = build.certify(Box({"x": -end}, {"x": end}), effort=Effort(count, ratio=1.001, cells=cells))
    document = json.loads(path.read_text())
    assert document == made.document()
    assert set(document["leaves"]) == ({"cells"} if cells > 1 << 10 else {"cells", "crown"})
    heard = []
    answer = check_certificate(path, build.folder, lambda *each: heard.append(each))
    assert answer["accepted"], answer["reason"]
    count = len(document["leaves"])
    assert answer["leaves"] == count
    assert heard == sorted(heard)  # how many are done, up to all
    assert (heard[0][0] > 0, heard[-1]) == (True, (count, count))
    assert document["method"].endswith("worst piece")
    assert made.largest < 0.9 * max(before["outputs"][build.graph.outputs[0]]["bound"])


@pytest.mark.usefixtures("quick_attack")
def test_too_many_cells(tmp_path, monkeypatch):
    """What leaves may cost the checker is limited. They cost nothing for outputs that are bounded without,
    and little where a claim is wrong."""
    net = Net(1, 4, seed=18)
    h = net.put("Relu", net.put("Gemm", "x", net.normal(4, 6, scale=1.0)))
    path = net.save(tmp_path, net.put("Gemm", h, net.normal(6, 2)))
    build = compile_model(path, tmp_path / "B", Options(domain="-1,1", target="c"))
    path = build.folder / "certificate.json"
    document = json.loads(path.read_text())
    document |= {"leaves": ["cells"], "method": document["method"] + ", worst piece"}
    path.write_text(json.dumps(document))
    assert check_certificate(path, build.folder)["accepted"]
    said = next(iter(document["outputs"].values()))
    i = int(np.argmin(said["bound"]))
    said["bound"][i] = 1.0001 * said["attack"][i]
    path.write_text(json.dumps(document))
    answer = check_certificate(path, build.folder)
    assert "claimed" in answer["reason"]
    assert answer["seconds"] < 20
    monkeypatch.setattr(halves, "WORK", 1 << 15)
    assert check_certificate(path, build.folder)["reason"] == "leaves by cells: too many cells"


def test_many_pieces_of_many_elements(bundled, tmp_path, monkeypatch):
    """A tree may have 100,000 pieces, but not of thousands of elements each: they fill the memory."""
    many, half = 1 << 12, Fraction(1, 2)
    root = {"x": Entry((-half,) * many, (half,) * many, Fraction(1, 64), 0, (many,))}
    cuts = [["x", i % many, f"0/{i + 1}"] for i in range(1 << 12)]
    with pytest.raises(Rejected, match="too many pieces"):
        cover.leaves([*cuts, *[None] * (len(cuts) + 1)], root, {})
    _, build = bundled("controller2", tmp_path / "a")
    monkeypatch.setattr(best_first, "NUMBERS", 10)
    made = build.certify(build.domain, effort=Effort(40))
    assert made.fields["tree"].count(None) == 5  # of 2 elements each


def sources(build):
    return "".join(path.read_text() for path in (build.folder / "c").glob(f"{build.graph.name}*.h"))


@pytest.mark.parametrize("model, pieces, cells", [("controller2", 60, 1 << 16), ("controller4", 6, 0)])
def test_inputs_on_the_grid(model, pieces, cells, bundled, tmp_path):
    """The sensor gives integers: only they count, each exactly; the checker agrees and tells both apart."""
    path, build = bundled(model, tmp_path / "a")
    box, effort = build.domain, Effort(pieces, ratio=1.0001, cells=cells)
    whole = build.certify(box, effort=effort)
    assert "--grid" not in sources(build)
    made = build.certify(Box(box.lower, box.upper, grid=True), effort=effort)
    answer = check_certificate(path, build.folder)
    assert answer["accepted"], answer["reason"]
    assert made.fields["mode"] == "grid"
    assert sources(build).count("--grid") == 2  # both headers tell
    assert made.largest <= whole.largest
    if cells:  # 2 inputs: all of them are tried
        graph, name = build.graph, build.graph.outputs[0]
        value = graph.values["x"]
        q = np.stack(np.meshgrid(*[np.arange(-128, 128)] * 2), -1).reshape(-1, 2)
        x = float(value.quant.scale[0]) * (q - value.quant.zero)
        keep = ((x >= box.lower["x"] - 1e-12) & (x <= box.upper["x"] + 1e-12)).all(axis=1)
        y = evaluate(graph, {"x": q[keep]}, [name])[name]
        y = float(graph.values[name].quant.scale[0]) * (y - graph.values[name].quant.zero)
        real = evaluate(build.float_graph, {"x": x[keep]}, build.float_graph.outputs)
        largest = np.abs(y - real[build.float_graph.outputs[0]]).max()
        assert largest <= made.largest <= largest * 1.0002
        assert made.attack.largest == pytest.approx(largest, rel=1e-9)
    assert build.verify(["golden"]).bound.violations == 0
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "mode": "box"}))
    assert not check_certificate(path, build.folder)["accepted"]
    ends = document["domain"]["x"]
    ends["lower"][0] = str(Fraction(ends["lower"][0]) + Fraction(1, 1000))
    path.write_text(json.dumps(document))
    assert "not on the grid" in check_certificate(path, build.folder)["reason"]


def test_a_box_between_two_integers(bundled, tmp_path):
    _, build = bundled("controller2", tmp_path / "a")
    step = float(build.graph.values["x"].quant.scale[0])
    ends = np.full(2, 0.3 * step), np.full(2, 0.6 * step)
    with pytest.raises(CompileError, match="holds no integer"):
        build.certify(Box({"x": ends[0]}, {"x": ends[1]}, grid=True))
