# SPDX-License-Identifier: Apache-2.0
"""What benchmarks/certify.py prints, keeps and plots."""

import contextlib
import io
import json
import re
import xml.etree.ElementTree as ET

import certify as table
import certify_tasks
import numpy as np
import pytest
from both_ends import both_ends

TASK = "controllers/controller2/int8/domain"


def rows_of(*arguments):
    """The first table, by its heads."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert table.main([str(a) for a in arguments]) == 0
    lines = printed.getvalue().partition("\n\n")[0].splitlines()
    heads, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(heads, row, strict=True)) for row in rows]


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A row that was computed, and the arguments that name its results."""
    file = tmp_path_factory.mktemp("rows") / "out" / "rows.jsonl"
    where = ["--tasks", TASK, "--results", file]
    (row,) = rows_of(*where, "--check")
    return row, where


def test_every_column(ran):
    row, _ = ran
    assert (row["network"], row["weights"], row["box"]) == ("controller2", "int8", "domain")
    found, alone = float(row["found"]), [float(row[kind]) for kind in table.KINDS]
    assert found <= float(row["certified"]) <= min(alone) * 1.001
    assert float(row["ratio"]) == pytest.approx(float(row["certified"]) / found, abs=2e-3)
    assert (row["goal"], row["leaves"]) == ("1.01 in 10 s", "1")
    assert float(row["s"]) > 0
    assert float(row["checker s"]) > 0


def test_a_run_goes_on_where_it_was(ran, tmp_path, monkeypatch):
    """A row that is there is not computed again, half a row is; --again computes, --print never does."""
    row, (*_, source) = ran
    file, kept = tmp_path / "rows.jsonl", source.read_text()
    where = ["--tasks", TASK, "--results", file]
    file.write_text(kept)
    monkeypatch.setattr(table, "built", None)
    assert rows_of(*where) == [row]
    assert rows_of(*where, "--print", "--again") == [row]
    assert rows_of(*where, "--check") == [row]  # which the checker has seen
    file.write_text(kept[: len(kept) // 2])
    assert rows_of(*where, "--print") == []

    def other(task, networks, limit):
        return json.loads(kept) | {"leaves": networks, "limit": limit}

    monkeypatch.setattr(table, "built", lambda *_, **__: 12345)
    monkeypatch.setattr(table, "measured", other)
    for arguments in ((), ("--again", "--limit", 7)):
        assert rows_of(*where, *arguments)[0]["leaves"] == "12345"
        assert table.known(file)[TASK]["leaves"] == 12345
    assert table.known(file)[TASK]["limit"] == 7
    unseen = {key: value for key, value in json.loads(kept).items() if key != "checker s"}
    file.write_text(json.dumps(unseen | {"leaves": 1}) + "\n")
    assert rows_of(*where)[0]["leaves"] == rows_of(*where, "--check", "--print")[0]["leaves"] == "1"
    assert rows_of(*where, "--check")[0]["leaves"] == "12345"


def test_both_ends_over_time(ran, tmp_path):
    """The certified end never rises, the found one never falls, and the plot has both of every task."""
    _, where = ran
    curve = np.array(table.known(where[-1])[TASK]["curve"])
    assert (np.diff(curve[:, 0]) >= 0).all()
    assert (np.diff(curve[:, 1]) >= -1e-9).all()
    assert (np.diff(curve[:, 2]) <= 1e-9).all()
    plot = tmp_path / "plot.svg"
    rows_of(*where, "--print", "--svg", plot)
    drawn = [e.get("stroke") for e in ET.fromstring(plot.read_text()).iter() if e.tag.endswith("path")]
    assert drawn.count("#3b7dd8") == drawn.count("#b42318") == 1


def test_a_plot_where_nothing_was_found_at_first():
    """What is 0 lies at the lower end; all of it may be 0."""
    drawn = both_ends([("a", [(0, 0.0, 1.0), (2, 0.25, 0.5)]), ("b", [(0, 0.0, 0.0), (1, 0.0, 0.0)])])
    paths = [e.get("d") for e in ET.fromstring(drawn).iter() if e.get("stroke") == "#b42318"]
    heights = [float(re.match(r"M\S+ ([\d.]+)", path)[1]) for path in paths]
    assert heights == [26 + 150, 26 + 150]


def test_tasks_have_names_of_their_own_and_unknown_ones_are_refused(tmp_path, capsys):
    """Without data there are the bundled networks."""
    every = certify_tasks.tasks(tmp_path, tmp_path)
    assert {name.split("/")[0] for name in every} == {"controllers", "digits"}
    assert table.main(["--tasks", "no/such", "--data", str(tmp_path)]) == 2
    assert "no/such" in capsys.readouterr().out


def test_boxes_of_images_and_points():
    lower, upper = certify_tasks.box_of("fp2", 3)
    assert np.allclose(upper - lower, 6 / 255)
    assert np.allclose((lower + upper) / 2, certify_tasks.POINTS["fp2"])


def test_a_nnet_file_is_the_network_that_it_says(tmp_path):
    """relu(x W' + b) and an affine layer behind it."""
    onnxruntime = pytest.importorskip("onnxruntime")
    source, made = tmp_path / "n.nnet", tmp_path / "n.onnx"
    source.write_text(
        "// made by hand\n2,2,1,3,\n2,3,1,\n0,\n0,0,\n1,1,\n0,0,0,\n1,1,1,\n"
        "1,-2,\n0.5,0,\n-1,1,\n0.25,\n-1,\n0,\n1,2,-3,\n0.125,\n"
    )
    certify_tasks.nnet(source, made)
    x = np.array([[1, 0.25]], np.float32)
    hidden = np.maximum(x @ np.array([[1, 0.5, -1], [-2, 0, 1]]) + [0.25, -1, 0], 0)
    (y,) = onnxruntime.InferenceSession(made).run(None, {"x": x})
    assert np.allclose(y, hidden @ [[1], [2], [-3]] + 0.125)
