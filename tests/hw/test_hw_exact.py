# SPDX-License-Identifier: Apache-2.0
"""Every block equals the model on every beat, under every stall pattern; planted bugs are seen."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hw_build import Bench, Job, Result, build, mutant
from hw_samples import FRAMES, Sample
from hw_samples_layers import affine_samples, maxpool_samples, pool_samples, residual_sample
from hw_samples_streams import (
    add_samples,
    argmax_samples,
    plain_samples,
    product_samples,
    requantise_samples,
    softmax_samples,
)

pytestmark = pytest.mark.slow

SAMPLES = [
    *affine_samples(),
    *pool_samples(),
    *maxpool_samples(),
    residual_sample(),
    *requantise_samples(),
    *add_samples(),
    *plain_samples(),
    *product_samples(),
    *softmax_samples(),
    *argmax_samples(),
]
FAMILIES = sorted({s.family for s in SAMPLES})

# name: file, text, replacement, samples of the block, the one that must show it
MUTANTS = {
    "half up": ("tb_requantise.v", "|(wide & unit) && s2 != 6'd0", "s2 != 6'd0", requantise_samples, "even"),
    "mean once": (
        "tb_requantise.v",
        "first + (unit >> 1)",
        "(unit >> 1)",
        requantise_samples,
        "mean-sixth",
    ),
    "no saturation": ("tb_requantise.v", "(q > HI_WIDE)", "1'b0", requantise_samples, "unit5"),
    "the first rounding lost": (
        "tb_requantise.v",
        "(s2 <= 6'd31) ? half",
        "(s2 <= 6'd62) ? half",
        requantise_samples,
        "tflite2-near",
    ),
    "ties towards 0": (
        "tb_requantise.v",
        "(wide < -CARRY) ? less",
        "(wide > CARRY) ? less",
        requantise_samples,
        "tflite2-tie",
    ),
    "an average's ties up": (
        "tb_requantise.v",
        "wide[S_W-1] &&",
        "1'b0 &&",
        requantise_samples,
        "tflite3-tie",
    ),
    "last tap dropped": (
        "tb_window.v",
        "tap_last <= at_last;",
        "tap_last <= ky_last && kx_last;",
        affine_samples,
        "int8-dense",
    ),
    "padding is zero": ("tb_window.v", "{LANES{PAD[7:0]}}", "{LANES{8'h00}}", affine_samples, "int8-plain"),
    "bias kept": ("tb_affine.v", "(first ? bias : acc)", "acc", affine_samples, "int8-single"),
    "nibbles without sign": (
        "tb_product_int4.v",
        "wire signed [3:0] weight = code",
        "wire signed [4:0] weight = {1'b0, code}",
        affine_samples,
        "int4-dense",
    ),
    "minus lost": (
        "tb_product_pot4.v",
        "code[3] ? -shifted",
        "code[3] ? ~shifted",
        affine_samples,
        "pot4-dense",
    ),
    "plane dropped": ("tb_pool64.v", "-bits[2:0]", "3'd1 - bits[2:0]", pool_samples, "pool64-dense"),
    "bits of the next frame": (
        "tb_pool64.v",
        "plane == tap_end",
        "plane == plane_end",
        pool_samples,
        "pool64-single",
    ),
    "unsigned maximum": (
        "tb_maxpool.v",
        "$signed(tap) > best",
        "tap > $unsigned(best)",
        maxpool_samples,
        "two",
    ),
    "division cut": (
        "tb_softmax.v",
        "+ {41'd0, up}",
        "",
        softmax_samples,
        "softmax-10",
    ),
    "a row is read on": (
        "tb_mat_mul.v",
        "? row_a : next_a",
        "? next_a : next_a",
        product_samples,
        "products-plain",
    ),
    "the sum goes on": (
        "tb_mat_mul.v",
        "first ? product",
        "1'b0 ? product",
        product_samples,
        "products-groups",
    ),
    "the first of equals": ("tb_argmax.v", "value == top", "1'b0", argmax_samples, "argmax-10-1"),
    "zero point of b": ("tb_add.v", "(b - ZB) * MB", "b * MB", add_samples, "scaled"),
}


def mutants() -> tuple[list[Sample], str]:
    """One sample per mutant, on the mutated blocks and named after the mutant, and the mutated Verilog."""
    samples, text = [], ""
    for n, (name, (file, old, new, make, label)) in enumerate(MUTANTS.items()):
        text += mutant(f"m{n}", file, old, new)
        [sample] = [s for s in make() if s.name.endswith(label)]
        samples.append(dataclasses.replace(sample, name=name, body=sample.body.replace("tb_", f"m{n}_")))
    return samples, text


@pytest.fixture(scope="module")
def bench(once: Callable[..., Path]) -> Bench:
    samples, text = mutants()
    every = [*SAMPLES, *samples]
    folder = once("samples", lambda folder: build(every, text, folder))
    return Bench(folder, [s.name for s in every])


def jobs(sample: Sample) -> list[Job]:
    """{none, source, sink, both} stalls, frames back to back; then a reset in the middle of a frame."""
    frames, beats = sample.inputs.shape
    schedules = [[8] * frames]
    if "bits(bits)" in sample.body:
        schedules += [[b] * frames for b in (2, 3, 5, 7)] + [[8, 2, 5], [3, 6, 4]]
    out = [
        Job(sample, source, sink, 0, bits)
        for bits in schedules
        for source, sink in ((0, 0), (40, 0), (0, 40), (40, 40), (0, 95))
    ]
    return out + [
        Job(sample, 30, 30, cut, schedules[-1]) for cut in {1, beats - 1, beats, beats + beats // 2} - {0}
    ]


def differences(job: Job, result: Result) -> int:
    """Number of beats that differ, missing and surplus ones included."""
    want, seen = job.sample.expect(job.bits).reshape(-1), result.words
    common = min(len(want), len(seen))
    return int((want[:common] != seen[:common]).sum()) + abs(len(want) - len(seen))


@pytest.mark.parametrize("family", FAMILIES)
def test_block_equals_model(bench: Bench, family: str) -> None:
    todo = [job for sample in SAMPLES if sample.family == family for job in jobs(sample)]

    results = bench.run(todo)

    print(f"{family}: {sum(len(r.words) for r in results)} beats compared in {len(todo)} runs")
    wrong = [
        (job.sample.name, job.source, job.sink, job.cut, job.bits, d)
        for job, seen in zip(todo, results, strict=True)
        if (d := differences(job, seen))
    ]
    assert wrong == []


def test_clocks_of_a_frame(bench: Bench) -> None:
    """The laws in the headers of tb_affine, tb_pool64 and tb_maxpool, which the cost model builds on."""
    for sample in (s for s in SAMPLES if s.family in ("int8", "int4", "pot4", "ones", "pool64", "maxpool")):
        g = {k: int(v) for k, v in re.findall(r"\.([A-Z]+)\((\d+)\)", sample.body)}
        taps = g["OH"] * g["OW"] * g["KH"] * g["KW"] * g["C"] * g.get("O", g["C"]) // g.get("GROUPS", g["C"])
        bits = 6
        clocks = g["H"] * g["W"] * g["C"] + 1 + taps
        if sample.family == "pool64":
            clocks += taps // 8 * bits - taps + 1 - bits

        [result] = bench.run([Job(sample, 0, 0, 0, [bits] * FRAMES)])

        assert 0 <= result.clocks - FRAMES * clocks <= 10, sample.name


@pytest.mark.parametrize("name", MUTANTS)
def test_planted_bug_is_seen(bench: Bench, name: str) -> None:
    todo = [job for sample in mutants()[0] if sample.name == name for job in jobs(sample)]

    results = bench.run(todo)

    assert sum(differences(job, seen) for job, seen in zip(todo, results, strict=True)) > 0
