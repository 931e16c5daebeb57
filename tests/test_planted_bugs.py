# SPDX-License-Identifier: Apache-2.0
"""The checks are checked: a bug planted in each part turns `verify`, or the test of that part, red."""

import numpy as np
import pytest
import samples
from command import dense_model, refusal, save
from pair_nets import broken, zoo
from test_ops import range_differences

import tinybound
from tinybound import build_files
from tinybound.certify import certificate
from tinybound.domains import pair
from tinybound.domains.exact import Exact
from tinybound.domains.interval import Interval
from tinybound.kernels.choose import kernel_plan
from tinybound.simulate import golden as golden_model
from tinybound.simulate.golden import golden
from tinybound.targets import layout, memory

LAYERS = ["relu1", "relu2", "y", "output y"]


@pytest.fixture
def plant(monkeypatch, tmp_path, examples):
    """plant(target, change): controller2 built with change(file name, text) in one of its generated files."""

    def compiled(target, change, scales="any", kernel="halves"):
        generator = f"generate_{target}"
        true, changed = getattr(build_files, generator), []

        def wrong(graph, *arguments, **named):
            if "plan" in named:
                named["plan"] = kernel_plan(graph, (kernel,))  # whose text is changed
            texts = {}
            for name, text in true(graph, *arguments, **named).items():
                texts[name] = change(name, text)
                if texts[name] != text:
                    changed.append(name)
            return texts

        monkeypatch.setattr(build_files, generator, wrong)
        options = tinybound.Options(
            target=target, scales=scales, calibration=examples / "controller2_calibration.npz"
        )
        build = tinybound.compile(examples / "controller2.onnx", tmp_path / "BUILD", options)
        assert len(changed) == 1, "the text to change is not there"
        return build

    return compiled


def replaced(file, old, new):
    """A change for `plant`: every occurrence of `old` in one file."""
    return lambda name, text: text.replace(old, new) if name.endswith(file) else text


def differences(command, build, executor, layer):
    """verify ends with 1 and names layer, index, expected and found, as a sentence and as JSON."""
    done = command("verify", build.folder, "--on", executor, "--json")
    assert (done.code, done.err) == (1, "")
    verdict = done.json
    stage = verdict["stages"][executor]
    first = stage["first"]
    assert not verdict["ok"]
    assert stage["mismatches"] == sum(each["mismatches"] for each in stage["layers"]) > 0
    assert first["layer"] == layer
    before = LAYERS[: LAYERS.index(layer)]
    counts = {each["layer"]: each["mismatches"] for each in stage["layers"]}
    assert all(counts[name] == 0 for name in before)
    assert counts[layer] > 0
    truth = golden(build.graph, build.vectors())[layer.removeprefix("output ")]
    assert first["expected"] == truth[first["vector"]][tuple(first["index"])] != first["found"]
    out = command("verify", build.folder, "--on", executor).out
    assert (
        f"{executor}: first difference in {layer}, vector {first['vector']}, index {first['index']}: "
        f"expected {first['expected']}, found {first['found']}\n"
    ) in out
    print(f"{executor}: {stage['mismatches']} of {stage['elements']} differ, first in {layer}")
    return stage


# Generated C


def test_c_that_rounds_half_up(command, plant):
    """Powers of two: the tie goes the wrong way, by one, where the quotient below it is even."""
    build = plant("c", replaced("tb_requantise.h", "((v >> s) & some)", "some"), scales="pow2")
    stage = differences(command, build, "host", "relu1")
    assert stage["first"]["found"] == stage["first"]["expected"] + 1
    assert stage["first"]["expected"] % 2 == 0 or build.graph.values["relu1"].quant.zero % 2


def test_c_without_its_bias(command, plant):
    build = plant("c", replaced("tb_halves.h", "(uint32_t)(bias[at + i] + less)", "(uint32_t)less"))
    differences(command, build, "host", "relu1")


def test_c_with_one_wrong_weight(command, plant, tmp_path, examples):
    """In the second layer: the first is right and is not blamed."""
    options = tinybound.Options(target="c", calibration=examples / "controller2_calibration.npz")
    clean = tinybound.compile(examples / "controller2.onnx", tmp_path / "clean", options)
    shown = golden(clean.graph, clean.vectors())
    busiest = {name: int(np.ptp(shown[name], axis=0).argmax()) for name in ("relu1", "relu2")}
    head = (
        "static const int16_t weights1[] = {\n  "  # two filters in a half word, taps 1 and 2 of four swapped
    )

    def change(name, text):
        at = text.find(head)
        if at < 0:
            return text
        start = at + len(head)
        weights = text[start : text.index("\n};", start)].split(",")
        tap, output = busiest["relu1"], busiest["relu2"]
        where = 16 * (output // 2) + tap // 4 * 4 + (0, 2, 1, 3)[tap % 4]
        weights[where] = f" {int(weights[where]) ^ 64 << 8 * (output % 2)}"
        return text[:start] + ",".join(weights) + text[text.index("\n};", start) :]

    differences(command, plant("c", change), "host", "relu2")


def test_c_for_one_core_only(command, plant):
    """Each executor runs its own code: what is wrong on ARM alone is seen there, and only there."""
    build = plant("c", replaced("tb_dsp_halves.h", "smmla r9, r9, r4, r3", "smmul r9, r9, r4"))
    assert command("verify", build.folder, "--on", "host").code == 0
    differences(command, build, "cortex-m4", "relu1")


def test_buffers_that_overlap(command, plant, monkeypatch):
    """A planner that puts every buffer at 0; its own check is silenced too."""
    monkeypatch.setattr(layout, "place", lambda buffers, search: ({b.name: 0 for b in buffers}, 16))
    build = plant("c", lambda name, text: text + "\n" if name == "controller2.c" else text, kernel="int8")
    done = command("verify", build.folder, "--on", "host")
    assert done.code == 1
    assert "first difference in relu2" in done.out


def test_the_planner_checks_itself():
    buffers = [memory.Buffer("a", 8, 0, 2), memory.Buffer("b", 4, 1, 3)]
    with pytest.raises(AssertionError, match="overlap"):
        memory.verify(buffers, {"a": 0, "b": 4})


# Generated Verilog


def test_verilog_that_rounds_half_up(command, plant):
    change = replaced("tb_requantise.v", "wire odd = |(wide & unit) && s2 != 6'd0;", "wire odd = s2 != 6'd0;")
    build = plant("verilog", change, scales="pow2")
    stage = differences(command, build, "rtl", "relu1")
    assert stage["first"]["found"] == stage["first"]["expected"] + 1


@pytest.mark.slow
def test_verilog_without_its_bias(command, plant):
    build = plant("verilog", replaced("tb_affine.v", "(first ? bias : acc)", "(first ? {ACC_W{1'b0}} : acc)"))
    differences(command, build, "rtl", "relu1")


@pytest.mark.slow
def test_verilog_that_falls_silent(command, plant):
    """A frame that never ends is an error of its own, not a hang."""
    build = plant(
        "verilog", replaced("tb_frame.v", "assign m_axis_tvalid = ", "assign m_axis_tvalid = 1'b0 & ")
    )
    # The driver's limit for an idle design is far away: what is built here has a nearer one.
    files = dict(build.files)
    for name in ("verilog/driver.cpp", "verilog/driver_trace.cpp"):
        files[name] = files[name].replace(b"kIdleLimit = 1000000000", b"kIdleLimit = 5000")
    build.replace(files)
    command.fails(1, "rtl: controller2: no output at beat 0", on=("verify", build.folder, "--on", "rtl"))


# The golden model


def test_another_golden_model(command, plant, monkeypatch):
    """The outputs kept in a build expose a golden model that has changed since; so does every executor."""
    build = plant("c", lambda name, text: text + "\n" if name == "controller2.c" else text, scales="pow2")

    class HalfUp(Exact):
        def requantise(self, x, m, s, zero_in, zero, lo, hi, mode):
            each = (-1, *(1,) * (np.ndim(x) - 1))
            m, s = (np.asarray(a, np.int64).reshape(each) for a in (m, s))
            return np.clip((((x - zero_in) * m + ((1 << s) >> 1)) >> s) + zero, lo, hi)

    true = golden_model.run
    monkeypatch.setattr(golden_model, "run", lambda graph, values: true(graph, values, HalfUp()))
    done = command("verify", build.folder, "--on", "golden,host", "--json")
    assert done.code == 1
    stages = done.json["stages"]
    assert stages["host"]["first"]["layer"] == "relu1"
    assert stages["golden"]["mismatches"] > 0
    assert stages["golden"]["first"]["layer"] == "output y"


# Ranges


class WithoutZero(Interval):
    """The sum forgets the zero point."""

    def affine(self, x, weights, bias, zero):
        return super().affine(x, weights, bias, 0)


class WithoutSigns(Interval):
    """Negative weights do not swap the ends."""

    def affine(self, x, weights, bias, zero):
        return tuple(np.matmul(weights, end - zero) + bias[..., None] for end in x)


class WithoutTies(Interval):
    """The upper end rounds half down."""

    def requantise(self, x, m, s, zero_in, zero, lo, hi, mode):
        low, high = super().requantise(x, m, s, zero_in, zero, lo, hi, mode)
        return low, np.maximum(low, high - (high < hi))


@pytest.mark.parametrize("domain", [WithoutZero, WithoutSigns, WithoutTies])
def test_a_wrong_range_rule(domain):
    """The brute-force test of tests/test_ops.py goes red."""
    cases = samples.cases(relu=False)
    found = {case.name: range_differences(case.whole, domain(), seed=1, rounds=1)[0] for case in cases}
    assert sum(found.values()) > 0
    print({name: lost for name, lost in found.items() if lost})


# Bounds


def plant_bold(monkeypatch):
    """Rounding to a step moves nothing."""
    true = pair.Rounding.__init__

    def bold(self, *arguments):
        true(self, *arguments)
        self.half = 0.0

    monkeypatch.setattr(pair.Rounding, "__init__", bold)


def test_a_bound_without_rounding(command, monkeypatch, tmp_path):
    """`compile` and `verify` see violations on real inputs, and the test of the domains does too."""
    model = save(dense_model(np.random.default_rng(3).normal(0, 0.5, (3, 4))), tmp_path / "net.onnx")
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(4).uniform(-1, 1, (500, 3)))
    on = ("compile", model, "--domain=-1,1", "--target", "c", "-o")
    given = ("--on", "golden", "--inputs", tmp_path / "x.npz")
    assert command(*on, tmp_path / "right").code == 0
    assert command("verify", tmp_path / "right", *given).code == 0
    plant_bold(monkeypatch)
    command.fails(1, "above the bound", on=(*on, tmp_path / "wrong"))
    monkeypatch.setattr(certificate, "contradicted", lambda bound, evidence: None)
    assert command(*on, tmp_path / "wrong").code == 0
    done = command("verify", tmp_path / "wrong", *given, "--json")
    assert done.code == 1
    bound = done.json["bound"]
    assert bound["violations"] > 0
    print(f"{bound['violations']} of {bound['inside']} inputs beyond the bound {bound['bound']}")


def test_a_domain_without_rounding(monkeypatch):
    plant_bold(monkeypatch)
    kinds = {kind for seed in range(4) for kind, _ in broken(zoo(seed), seed)}
    assert {"zonotope", "product"} <= kinds


# The checker


def test_a_checker_that_skips_the_hashes(command, monkeypatch, tmp_path):
    """A changed source is refused by the hash test and by nothing else: without it the forgery passes."""
    check = pytest.importorskip("tinybound.checker.check")
    model = save(dense_model(np.random.default_rng(3).normal(0, 0.5, (3, 4))), tmp_path / "net.onnx")
    folder = tmp_path / "BUILD"
    assert command("compile", model, "--domain=-1,1", "--target", "c", "-o", folder).code == 0
    on = ("check", folder / "certificate.json")
    assert command(*on).code == 0
    with (folder / "c" / "net.c").open("a") as file:
        file.write("/* forged */\n")
    refusal(command(*on), 1, "rejected: c/: changed since it was certified")
    true = check.need
    monkeypatch.setattr(check, "need", lambda ok, reason: true(ok or "changed since" in reason, reason))
    assert command(*on).code == 0  # what the line above must never be
