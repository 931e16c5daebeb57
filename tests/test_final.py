# SPDX-License-Identifier: Apache-2.0
"""Softmax and ArgMax along any axis, as the last layer: ONNX Runtime's meaning, C, the checker's reading."""

import json

import numpy as np
import pytest
from onnx import TensorProto
from onnx_nets import Net, session
from pipeline import refused, same_network

from tinybound.asks import Ask, answer
from tinybound.build import compile as compile_model
from tinybound.checker import check_certificate
from tinybound.checker.files import Rejected
from tinybound.checker.float_net import read_float
from tinybound.domains.exact import run
from tinybound.frontends import load_onnx
from tinybound.ops.final import final
from tinybound.options import Options

pytestmark = pytest.mark.usefixtures("quick_attack")

MAPS, ROWS, ROW = (1, 3, 4, 5), (1, 4, 6), (1, 6)


def last(kind, **attributes):
    return lambda n: n.put(kind, n.put("Sigmoid", "x"), **attributes)


def turned(n):
    y = n.put("Softmax", "x", axis=1)
    return n.put("Flatten", n.put("Transpose", y, perm=[0, 2, 3, 1]))


def cast(n):
    y = n.put("ArgMax", n.put("Softmax", "x", axis=1), axis=1, keepdims=0)
    return n.put("Cast", y, to=TensorProto.INT32)


def integers(n):
    """Of integers between the quantisers."""
    pair = n.constant(0.05), n.constant(3, np.int8)
    return n.put("ArgMax", n.put("QuantizeLinear", n.put("Relu", "x"), *pair), axis=1)


FORMS = {
    "softmax of rows": (ROWS, 13, last("Softmax")),
    "softmax of columns": (ROWS, 13, last("Softmax", axis=1)),
    "softmax of channels": (MAPS, 13, last("Softmax", axis=1)),
    "softmax of rows of a map": (MAPS, 13, last("Softmax", axis=-2)),
    "softmax of four axes": ((1, 2, 3, 2, 4), 13, last("Softmax", axis=2)),
    "softmax of all": (MAPS, 11, last("Softmax")),
    "softmax of all behind the channels": (MAPS, 11, last("Softmax", axis=2)),
    "old softmax of the last axis": (MAPS, 9, last("Softmax", axis=3)),
    "softmax of a vector": ((6,), 13, last("Softmax", axis=0)),
    "softmax, moved": (MAPS, 13, turned),
    "argmax of a vector": ((6,), 13, last("ArgMax")),
    "argmax of a row": (ROW, 13, last("ArgMax", axis=1)),
    "argmax of a row, no axis left": (ROW, 13, last("ArgMax", axis=-1, keepdims=0)),
    "argmax of channels": (MAPS, 13, last("ArgMax", axis=1, keepdims=0)),
    "argmax of rows of a map": (MAPS, 11, last("ArgMax", axis=2)),
    "argmax of columns, the last one": (MAPS, 13, last("ArgMax", axis=3, keepdims=0, select_last_index=1)),
    "argmax of a softmax, cast": (MAPS, 13, cast),
    "argmax of integers": (MAPS, 13, integers),
    "argmax of many": ((1, 200), 13, last("ArgMax", axis=1)),
}


@pytest.fixture
def saved(tmp_path):
    def write(form):
        shape, opset, put = FORMS[form]
        net = Net(*shape, opset=opset)
        path = net.save(tmp_path, put(net))
        return path, shape

    return write


@pytest.mark.parametrize("form", FORMS)
def test_the_float_meaning_is_onnx_runtimes(form, saved):
    path, shape = saved(form)
    graph, reference = load_onnx(path).graph, session(path)

    for seed in range(4):
        x = np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)
        if seed == 3:
            x = np.round(x)  # ties
        (want,) = reference.run(None, {"x": x})
        got = run(graph, {"x": x.astype(np.float64).reshape(graph.values["x"].shape)})[graph.outputs[0]]
        assert got.shape in (want.shape, want.shape[1:]) or want.size == got.size == 1
        if "integers" in form:  # here the reals are compared, not their integers
            assert set(got.ravel()) <= {0, 1, 2}
        else:
            np.testing.assert_allclose(got.ravel(), want.ravel(), rtol=1e-5, atol=1e-6)
    assert same_network(path)


@pytest.mark.parametrize(
    "form",
    ["softmax of all behind the channels", "softmax, moved", "argmax of a softmax, cast", "argmax of many"],
)  # fmt: skip
def test_c_and_the_certificate(form, saved, tmp_path):
    path, shape = saved(form)
    build = compile_model(path, tmp_path / "build", Options(domain="-2,2", target="c"))
    x = np.random.default_rng(0).uniform(-2, 2, (40, *shape[1:]))

    assert build.verify(["host"]).ok
    found = check_certificate(tmp_path / "build" / "certificate.json", tmp_path / "build")
    assert found["accepted"], found["reason"]
    (name,) = build.graph.outputs
    shown = build.predict({"x": x})[name]
    real = np.stack([run(build.float_graph, {"x": each})[build.float_graph.outputs[0]] for each in x])
    if "softmax" in form and "argmax" not in form:
        assert np.abs(shown - real).max() <= build.certificate["outputs"][name]["probability_bound"]
    else:
        entry = build.certificate["outputs"][name]
        assert entry["argmax"] == "the bound is on what is compared"
        node = final(build.float_graph, build.float_graph.outputs[0])
        for each, index in zip(x, shown, strict=True):  # near ties may fall the other way, no others
            rows = run(build.float_graph, {"x": each})[node.inputs[0]]
            rows = rows.reshape(-1, rows.shape[-1])
            won = rows[np.arange(len(rows)), index.astype(int).ravel()]
            assert (won >= rows.max(axis=1) - 2 * max(entry["bound"])).all()
        assert (shown == real).mean() > 0.5


def test_an_argmax_says_which_of_equal_elements_wins(tmp_path):
    for last_one, at in ((0, 1), (1, 3)):
        net = Net(1, 5)
        best = net.put("ArgMax", "x", axis=1, select_last_index=last_one)
        path = net.save(tmp_path, best)
        build = compile_model(path, tmp_path / f"build{last_one}", Options(domain="-1,1", target="c"))
        x = np.array([[-1.0, 0.5, 0.2, 0.5, -0.3], [0.1] * 5])
        for on in ("golden", "host"):
            shown = build.simulate({"x": x}, on=on)[f"{best}__q"]
            assert shown.ravel().tolist() == [at, 4 * last_one]
        # One cell holds both: the integers are equal, the float network chooses the last one.
        np.savez(tmp_path / "x.npz", x=np.array([[0.1, 0.0, 0.0, 0.0, 0.1001]]))
        (row,) = answer(build.folder, Ask(inputs=tmp_path / "x.npz", radius=0.0))["rows"]
        assert (row["float_class"], row["integer_class"]) == (4, 4 * last_one)
        assert (row["refuted"] is None) == bool(last_one)


def test_what_the_bound_of_an_argmax_means_is_said(command, tmp_path):
    net = Net(1, 4)
    path = net.save(tmp_path, net.put("ArgMax", net.put("Relu", "x"), axis=1))

    said = command("compile", path, "-o", tmp_path / "B", "--domain=-1,1", "--target", "c").out
    (entry,) = command("certify", tmp_path / "B", "--timeout", "1", "--json").json["outputs"].values()

    top = max(entry["bound"])
    assert f"what it chooses is at most {2 * top:.6g} below" in said
    assert f"compares: certified at most {top:.6g}" in said


def test_a_forged_argmax_is_rejected(tmp_path):
    net = Net(1, 5)
    path = net.save(tmp_path, net.put("ArgMax", net.put("Relu", "x"), axis=1))
    compile_model(path, tmp_path / "build", Options(domain="-1,1", target="c"))
    file = tmp_path / "build" / "certificate.json"
    said = json.loads(file.read_text())
    (entry,) = said["outputs"].values()
    entry["value"] = next(iter(said["outputs"]))
    file.write_text(json.dumps(said))

    found = check_certificate(file, tmp_path / "build")
    assert not found["accepted"]
    assert "bounds" in found["reason"]


REFUSED = {
    "softmax over the batch": (ROWS, 13, lambda n: n.put("Softmax", "x", axis=0), "behind the batch"),
    "old softmax over the batch": (ROWS, 11, lambda n: n.put("Softmax", "x", axis=-3), "behind the batch"),
    "argmax over the batch": (ROWS, 13, lambda n: n.put("ArgMax", "x"), "behind the batch"),
    "argmax over too many": ((1, 257), 13, lambda n: n.put("ArgMax", "x", axis=1), "at most 256"),
    "argmax inside": (ROWS, 13, lambda n: n.put("Relu", n.put("Cast", n.put("ArgMax", "x", axis=1), to=1)),
                      "an argmax inside the network"),
    "argmax as a second term": (ROWS, 13, lambda n: n.put("Add", n.put("ReduceMean", "x", axes=[1]),
        n.put("Cast", n.put("ArgMax", "x", axis=1), to=1)), "an argmax inside the network"),
    "a reals' cast": (ROWS, 13, lambda n: n.put("Cast", "x", to=6), "Cast of a computed tensor"),
}  # fmt: skip


@pytest.mark.parametrize("form", REFUSED)
def test_refused_by_compiler_and_checker(form, tmp_path):
    shape, opset, write, message = REFUSED[form]
    net = Net(*shape, opset=opset)
    path = net.save(tmp_path, write(net), infer=False)

    refused(path, message)
    with pytest.raises((Rejected, ValueError)):
        read_float(path.read_bytes())
