# SPDX-License-Identifier: Apache-2.0
"""The Python interface: compile, load, Build; and a build folder that is written whole or not at all."""

import json
import os
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from command import dense_model, listing, save, small

import tinybound
from tinybound.build_folder import check_target, read_files, sha256, tree_hash, write_build
from tinybound.errors import CompileError, PromiseError
from tinybound.simulate.golden import golden


@pytest.fixture(scope="module")
def built(cache, examples):
    options = tinybound.Options(domain=str(examples / "controller2_box.json"), target="c")
    return tinybound.compile(examples / "controller2.onnx", cache / "build", options)


@pytest.fixture
def build(built, tmp_path):
    return tinybound.load(shutil.copytree(built.folder, tmp_path / "BUILD"))


def test_public_names():
    assert set(tinybound.__all__) == {"Build", "Options", "compile", "load"}
    for name in tinybound.__all__:
        assert getattr(tinybound, name).__doc__
    with pytest.raises(AttributeError):
        _ = tinybound.nonsense
    for method in ("predict", "simulate", "verify", "certify", "interactive"):
        assert getattr(tinybound.Build, method).__doc__


def test_predict_is_near_the_float_network(built, examples):
    """Within the certified bound, on inputs inside the box."""
    with np.load(examples / "controller2_test.npz") as held:
        x, y = held["x"][:200], held["y"][:200]
    inside = built.domain.holds("x", x.astype(np.float64))
    assert inside.sum() > 50
    gap = np.abs(built.predict({"x": x})["y"] - y)[inside]
    assert gap.max() <= max(built.certificate["outputs"]["y"]["bound"]) + 1e-6
    print(f"{inside.sum()} inputs, largest difference {gap.max():.4g}")


def test_simulate(built):
    q = built.vectors()
    found = built.simulate({"x__q": q["x"]}, on="host")
    np.testing.assert_array_equal(found["y__q"], golden(built.graph, q)["y"])
    assert set(found) == {"x__q", "y", "y__q"}


def test_verify_reports_progress(built):
    seen = []
    verdict = built.verify(["golden", "host"], progress=seen.append)
    assert verdict.ok
    assert seen == ["golden", "host"]
    assert built.verify([]).ok  # the bound alone


def test_loaded_is_what_was_compiled(built):
    again = tinybound.load(built.folder)
    assert again.graph.nodes[0].name == built.graph.nodes[0].name
    for name, value in built.graph.values.items():
        assert again.graph.values[name] == value
    assert again.manifest == built.manifest
    assert again.report == built.report
    q = built.vectors()
    for name, array in golden(built.graph, q).items():
        np.testing.assert_array_equal(golden(again.graph, q)[name], array)


def test_hashes(built):
    """The manifest's are of every file; the certificate's of both networks and of c/."""
    files = listing(built.folder)
    manifest = json.loads(files.pop("manifest.json"))
    assert manifest["files"] == {name: sha256(data) for name, data in files.items()}
    sources = {k.removeprefix("c/"): v for k, v in files.items() if k.startswith("c/")}
    assert built.certificate["hashes"] == {
        "float": sha256(files["float.onnx"]),
        "network": sha256(files["network.json"]),
        "network_arrays": sha256(files["network.npz"]),
        "c": tree_hash(sources),
    }


def test_tree_hash_sees_names_and_contents():
    files = {"a": b"1", "b": b"2"}
    others = [{"a": b"1"}, {"a": b"2", "b": b"1"}, {"a": b"1", "c": b"2"}, {"a": b"1", "b": b"2", "c": b""}]
    assert tree_hash(files) == tree_hash(dict(reversed(files.items())))
    assert len({tree_hash(each) for each in (files, *others)}) == 5


def test_certify_changes_the_object_too(build):
    old = build.certificate["outputs"]["y"]["bound"][0]
    graph = build.graph
    certificate = build.certify(tinybound.build.Box({"x": np.full(2, -0.01)}, {"x": np.full(2, 0.01)}))
    assert build.certificate["outputs"]["y"]["bound"] == [certificate.largest]
    assert certificate.largest < old
    assert (build.domain.lower["x"] == -0.01).all()
    assert build.graph.nodes[0].name == graph.nodes[0].name
    assert build.verify(["host"]).ok


def test_options_are_checked():
    for wrong in (
        {"target": "fpga"},
        {"scales": "three"},
        {"max_error": Fraction(0)},
        {"max_error": Fraction(-1)},
    ):
        with pytest.raises(CompileError):
            tinybound.Options(**wrong)


def test_budgets_are_exact_fractions(tmp_path):
    model = small(tmp_path / "net.onnx")
    build = tinybound.compile(model, tmp_path / "A", tinybound.Options(domain="-1,1", target="c"))
    bound = Fraction(max(build.certificate["outputs"]["y"]["bound"]))
    tiny = Fraction(1, 10**30)
    on = {"domain": "-1,1", "target": "c"}
    assert tinybound.compile(model, tmp_path / "B", tinybound.Options(max_error=bound, **on))
    with pytest.raises(PromiseError, match="certified error"):
        tinybound.compile(model, tmp_path / "C", tinybound.Options(max_error=bound - tiny, **on))
    assert not (tmp_path / "C").exists()


def test_weights_per_layer(tmp_path, examples):
    samples = examples / "digits_cnn_calibration.npz"
    options = tinybound.Options(weights=("pot4", "dense=int8"), calibration=samples, target="c")
    build = tinybound.compile(examples / "digits_cnn.onnx", tmp_path / "B", options)
    codes = {node.name: node.code for node in build.graph.nodes if node.op.weighted}
    assert codes.pop("dense") == "int8"
    assert set(codes.values()) == {"pot4"}


def test_external_weights_come_along(tmp_path):
    """float.onnx of a build is complete, wherever the model's other files are."""
    import onnx

    path = tmp_path / "net.onnx"
    weights = np.random.default_rng(0).normal(0, 0.5, (3, 2))
    onnx.save_model(
        dense_model(weights), str(path), save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    build = tinybound.compile(path, tmp_path / "B", tinybound.Options(domain="-1,1", target="c"))
    (tmp_path / "weights.bin").unlink()
    path.unlink()
    assert tinybound.load(build.folder).verify(["host"]).ok
    plain = save(dense_model(weights), tmp_path / "net.onnx")
    other = tinybound.compile(plain, tmp_path / "C", tinybound.Options(domain="-1,1", target="c"))
    assert other.files["c/net.c"] == build.files["c/net.c"]


# The folder


def failing(number):
    """Path.write_bytes that fails at its call of that number."""
    true, count = Path.write_bytes, iter(range(99))

    def write(self, data):
        if next(count) == number:
            raise OSError(28, "No space left on device")
        return true(self, data)

    return write


@pytest.mark.parametrize("number", range(6))
def test_a_build_is_written_whole(tmp_path, monkeypatch, number):
    """A failure at any file leaves nothing, or the old build as it was."""
    write_build(tmp_path / "old", {"kept": b"1"}, {"tinybound": "0"})
    before, files = listing(tmp_path), {f"folder{i}/file{i}": bytes([i]) for i in range(5)}
    for name in ("new", "old"):
        with monkeypatch.context() as patch:
            patch.setattr(Path, "write_bytes", failing(number))
            with pytest.raises(CompileError, match="No space left on device"):
                write_build(tmp_path / name, files, {})
        assert listing(tmp_path) == before
        assert [p.name for p in tmp_path.iterdir()] == ["old"]


def test_foreign_files_are_kept(tmp_path):
    """Links and folders too; what the new build has itself wins."""
    build = tmp_path / "B"
    write_build(build, {"c/net.c": b"1", "gone": b"1"}, {})
    (build / "c" / "mine.c").write_bytes(b"2")
    (build / "new").write_bytes(b"user")
    (build / "link").symlink_to("nowhere")
    write_build(build, {"c/net.c": b"3", "new": b"ours"}, {})
    assert {k: v for k, v in listing(build).items() if k != "manifest.json"} == {
        "c/net.c": b"3",
        "c/mine.c": b"2",
        "new": b"ours",
    }
    assert (build / "link").readlink() == Path("nowhere")
    assert read_files(build) == {"c/net.c": b"3", "new": b"ours"}


def test_a_link_to_a_build_stays_a_link(tmp_path):
    write_build(tmp_path / "real", {"a": b"1"}, {})
    (tmp_path / "link").symlink_to("real")
    write_build(tmp_path / "link", {"a": b"2"}, {})
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "a").read_bytes() == b"2"


def test_new_places(tmp_path, monkeypatch):
    """An empty folder, a folder several levels down, the working folder by its dot."""
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "empty", tmp_path / "a" / "b" / "c"):
        check_target(place)
        write_build(place, {"x": b""}, {})
        assert read_files(place) == {"x": b""}
        assert place.stat().st_mode & 0o777 == 0o755
    monkeypatch.chdir(tmp_path / "empty")
    write_build(Path(), {"x": b"1"}, {})
    assert read_files(tmp_path / "empty") == {"x": b"1"}
    os.chdir(tmp_path)
