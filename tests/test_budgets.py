# SPDX-License-Identifier: Apache-2.0
"""Nothing is built above its error budget, by our command or by hand; at run time the box holds exactly."""

import json
import re
import shutil
from fractions import Fraction

import numpy as np
import pytest
from command import dense_model, listing, refusal, save

import tinybound
from tinybound.errors import TinyboundError
from tinybound.simulate.golden import quantise
from tinybound.simulate.machine import STRICT
from tinybound.tools import run

LOWER, UPPER = [-0.37, -1.0, 0.1], [0.52, 0.2, 0.9]


@pytest.fixture(scope="module")
def model(cache):
    weights = np.random.default_rng(1).normal(0, 0.5, (3, 4))
    return save(dense_model(weights), cache / "net.onnx")


@pytest.fixture(scope="module")
def box(cache):
    path = cache / "net_box.json"
    path.write_text(json.dumps({"lower": LOWER, "upper": UPPER}))
    return path


def made(cache, model, name, **options):
    return tinybound.compile(model, cache / f"budgets_{name}", tinybound.Options(target="c", **options))


@pytest.fixture(scope="module")
def certified(cache, model, box):
    return made(cache, model, "certified", domain=str(box))


@pytest.fixture(scope="module")
def two(cache, model, box):
    """Power-of-two scales: every tie is a float32."""
    return made(cache, model, "two", domain=str(box), scales="pow2")


@pytest.fixture(scope="module")
def uncertified(cache, model):
    np.savez(cache / "x.npz", x=np.random.default_rng(2).uniform(-1, 1, (50, 3)))
    return made(cache, model, "uncertified", calibration=cache / "x.npz")


def worst(build):
    return max(max(output["bound"]) for output in build.certificate["outputs"].values())


# --max-error


def test_compile(command, model, box, certified, tmp_path):
    bound, place = worst(certified), tmp_path / "place"
    place.mkdir()
    on = ("compile", model, "-o", place / "B", "--domain", box, "--target", "c", "--max-error")
    below = float(np.nextafter(bound, 0))
    for limit in (below, bound / 2, "1e-12"):
        line = command.fails(1, "error: --max-error: certified error", on=(*on, limit))
        assert f"certified error {bound:.9g}; expected at most {float(limit):.9g}" in line
        assert list(place.iterdir()) == []
    for limit in (bound, f"{bound:.10g}", bound * 2):  # as certificates and tables show it, too
        assert command(*on, limit).code == 0
    before = listing(place / "B")
    refusal(command(*on, below), 1)
    assert listing(place / "B") == before


def test_without_domain_it_is_certified_over_the_calibration(command, model, tmp_path):
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(2).uniform(-1, 1, (50, 3)))
    on = ("compile", model, "-o", tmp_path / "B", "--calibration", tmp_path / "x.npz", "--target", "c")
    refusal(command(*on, "--max-error", "1e-9"), 1, "certified error")
    assert not (tmp_path / "B").exists()
    assert command(*on, "--max-error", "1").code == 0
    assert (tmp_path / "B" / "certificate.json").exists()


def test_certify(command, certified, tmp_path):
    build = shutil.copytree(certified.folder, tmp_path / "B")
    bound = worst(certified)
    done = command("certify", build, "--timeout", "0", "--max-error", float(np.nextafter(bound, 0)))
    refusal(done, 1, f"certified error {bound:.9g}")
    assert "found at least" in done.out  # both ends are shown
    assert command("certify", build, "--timeout", "0", "--max-error", bound).code == 0


def test_firmware(command, certified, uncertified, tmp_path):
    build = shutil.copytree(certified.folder, tmp_path / "B")
    bound, before = worst(certified), listing(build)
    for limit in (float(np.nextafter(bound, 0)), bound / 3):
        line = command.fails(1, "--max-error: certified error", on=("firmware", build, "--max-error", limit))
        assert f"certified error {bound:.9g}; expected at most {limit:.9g}" in line
        assert listing(build) == before
    assert command("firmware", build, "--max-error", bound).code == 0
    assert (build / "firmware" / "net-cortex-m4.elf").exists()
    on = ("firmware", uncertified.folder, "--max-error", "1")
    command.fails(1, "no certificate in this build", "tinybound certify BUILD", on=on)
    assert not (uncertified.folder / "firmware").exists()


# By hand


def by_hand(build, compiler, *macros, header=False):
    """The user's own compiler on the generated C."""
    name, folder = build.artefact.name, build.folder / "c"
    options = ["-x", "c++", "-Wall", "-Werror"] if compiler == "g++" else [*STRICT]
    options += ["--specs=picolibc.specs"] if compiler.startswith("riscv") else []
    source = folder / f"{name}.h" if header else folder / f"{name}.c"
    run([compiler, *options, "-fsyntax-only", *(f"-D{macro}" for macro in macros), source])


@pytest.mark.parametrize("compiler", ["gcc", "g++", "arm-none-eabi-gcc", "riscv64-unknown-elf-gcc"])
def test_the_header_refuses(certified, uncertified, compiler):
    text = (certified.folder / "c" / "net.h").read_text()
    e9 = int(re.search(r"CERTIFIED_ERROR_E9 (\d+)", text)[1])
    assert e9 == -int(-Fraction(worst(certified)) * 10**9 // 1) > 0  # rounded up
    header = compiler == "g++"
    by_hand(certified, compiler, header=header)
    for limit in (e9, e9 + 1, 10**12):
        by_hand(certified, compiler, f"net_MAX_ERROR_E9={limit}", header=header)
    for limit in (e9 - 1, 0):
        with pytest.raises(TinyboundError, match=r"#error .*the certified error exceeds net_MAX_ERROR_E9"):
            by_hand(certified, compiler, f"net_MAX_ERROR_E9={limit}", header=header)
    by_hand(uncertified, compiler, header=header)
    with pytest.raises(TinyboundError, match=r"#error .*no certificate, so no error budget can be met"):
        by_hand(uncertified, compiler, "net_MAX_ERROR_E9=1000000000", header=header)
    assert "CERTIFIED_ERROR_E9 " not in (uncertified.folder / "c" / "net.h").read_text()


# At run time

DRIVER = """
#include <stdio.h>
#include "net_float.h"
int main(int argc, char **argv)
{
  (void)argc;
  float x[3], y[4];
  int8_t q[3], all[4];
  FILE *in = fopen(argv[1], "rb"), *out = fopen(argv[2], "wb");
  if (argv[3][0] == 'q') {
    while (fread(x, sizeof x, 1, in) == 1) {
      int8_t inside = (int8_t)net_quantise(x, q);
      fwrite(&inside, 1, 1, out);
      fwrite(q, 1, sizeof q, out);
    }
  } else if (argv[3][0] == 'd') {
    while (fread(all, sizeof all, 1, in) == 1) {
      net_dequantise(all, y);
      fwrite(y, sizeof y, 1, out);
    }
  } else {
    while (fread(q, sizeof q, 1, in) == 1) {
      int8_t inside = DOMAIN;
      fwrite(&inside, 1, 1, out);
    }
  }
  return fclose(in) | fclose(out);
}
"""


@pytest.fixture(scope="module")
def call(cache):
    """call(build, "q" | "d" | "i", vectors): the generated functions under sanitizers, on many vectors."""
    programs = {}

    def run_it(build, what, vectors, dtype, width):
        if build.folder not in programs:
            work = cache / f"call_{build.folder.name}"
            work.mkdir()
            (work / "driver.c").write_text(DRIVER)
            domain = "net_in_domain(q)" if build.certificate else "0"
            run([
                "gcc", *STRICT, "-O2",
                "-fsanitize=undefined,float-cast-overflow", "-fno-sanitize-recover=all",
                f"-DDOMAIN=(int8_t)({domain})", f"-I{build.folder / 'c'}", work / "driver.c",
                build.folder / "c" / "net.c", "-lm", "-o", work / "driver",
            ])  # fmt: skip
            programs[build.folder] = work / "driver"
        program = programs[build.folder]
        given, found = program.with_name("in.bin"), program.with_name("out.bin")
        given.write_bytes(np.ascontiguousarray(vectors).tobytes())
        run([program, given, found, what])
        return np.fromfile(found, dtype).reshape(len(vectors), width)

    return run_it


@pytest.mark.parametrize("name", ["certified", "two"])
def test_in_domain_at_the_edges(request, call, name):
    """Every integer of every element, the others inside; first and last inside, one beyond."""
    build = request.getfixturevalue(name)
    value, ends = build.graph.values["x"], build.domain
    scale, zero = value.quant.scale[0], value.quant.zero
    low, high = ends.lower["x"].tolist(), ends.upper["x"].tolist()
    real = [scale * (q - zero) for q in range(-128, 128)]
    inside = np.array(
        [[Fraction(a) <= r <= Fraction(b) for r in real] for a, b in zip(low, high, strict=True)]
    )
    assert inside.any(axis=1).all()
    first, last = inside.argmax(axis=1) - 128, 127 - inside[:, ::-1].argmax(axis=1)
    middle = (first + last) // 2
    vectors, expected = [], []
    for element in range(3):
        for q in range(-128, 128):
            vector = middle.copy()
            vector[element] = q
            vectors.append(vector)
            expected.append(inside[element, q + 128])
    for corner in (first, last):  # all elements at an edge, then each one beyond it
        vectors.append(corner.copy())
        expected.append(True)
        for element in range(3):
            beyond = corner.copy()
            beyond[element] += 1 if corner is last else -1
            if -128 <= beyond[element] <= 127:
                vectors.append(beyond)
                expected.append(False)
    found = call(build, "i", np.array(vectors, np.int8), np.int8, 1)[:, 0]
    np.testing.assert_array_equal(found, expected)
    beyond = len(vectors) - 3 * 256 - 2
    assert beyond >= 3
    print(f"{len(vectors)} integer vectors, {beyond} one beyond a corner")


def neighbours(values, steps):
    """float32 numbers within some steps of each value."""
    near = [np.asarray(values, np.float32)]
    for towards in (-np.inf, np.inf):
        x = near[0]
        for _ in range(steps):
            x = np.nextafter(x, np.float32(towards))
            near.append(x)
    return np.concatenate(near)


def check_quantise(call, build, x):
    """Integers as golden, and inside exactly when the real number lies in the box."""
    value, ends = build.graph.values["x"], build.domain
    found = call(build, "q", x, np.int8, 4)
    np.testing.assert_array_equal(found[:, 1:], quantise(value, x.astype(np.float64)))
    exact = x.astype(np.float64)
    np.testing.assert_array_equal(found[:, 0], ends.holds("x", exact))
    return found


@pytest.mark.parametrize("name", ["certified", "two"])
def test_quantise_at_the_edges(request, call, name):
    build = request.getfixturevalue(name)
    low, high = build.domain.lower["x"], build.domain.upper["x"]
    middle = ((low + high) / 2).astype(np.float32)
    rows, insides = [], 0
    for element in range(3):
        for edge in (low[element], high[element]):
            for x in neighbours([edge], 4):
                row = middle.copy()
                row[element] = x
                rows.append(row)
    found = check_quantise(call, build, np.array(rows, np.float32))
    insides = int(found[:, 0].sum())
    assert len(rows) / 3 < insides < len(rows) * 2 / 3  # about half of the neighbours of an edge
    print(f"{len(rows)} vectors at the edges, {insides} inside")


@pytest.mark.parametrize("name", ["certified", "two", "uncertified"])
def test_quantise_equals_golden(request, call, name):
    """Random numbers, every half-way point and its neighbours, and numbers far outside."""
    build = request.getfixturevalue(name)
    value, rng = build.graph.values["x"], np.random.default_rng(5)
    scale, zero = value.quant.scale[0], value.quant.zero
    ties = [float(scale * (Fraction(2 * q + 1, 2) - zero)) for q in range(-132, 132)]
    if name == "two":
        assert all(Fraction(float(np.float32(t))) == Fraction(t) for t in ties)  # they are ties indeed
    x = neighbours(ties, 5)
    far = np.array([1e3, -1e3, 1e30, -1e30, 3.4e38, -3.4e38, 0.0, -0.0, 1e-45, -1e-45], np.float32)
    free = rng.uniform(-1.5, 1.5, 6000).astype(np.float32)
    x = rng.permutation(np.concatenate([x, far, free]))
    x = x[: len(x) // 3 * 3].reshape(-1, 3)
    if name == "uncertified":
        found = call(build, "q", x, np.int8, 4)
        np.testing.assert_array_equal(found[:, 1:], quantise(value, x.astype(np.float64)))
        ends = [float(np.float32(scale * (q - zero))) for q in (-128, 127)]
        np.testing.assert_array_equal(found[:, 0], ((x >= ends[0]) & (x <= ends[1])).all(axis=1))
    else:
        check_quantise(call, build, x)
    print(f"{x.size} numbers, {len(ties)} ties and their neighbours")


@pytest.mark.parametrize("name", ["certified", "uncertified"])
def test_numbers_that_are_none(request, call, name):
    """Never inside, and never undefined behaviour: the sanitizer watches."""
    build = request.getfixturevalue(name)
    middle = ((build.domain.lower["x"] + build.domain.upper["x"]) / 2).astype(np.float32)
    for odd, wanted in ((np.nan, None), (-np.nan, None), (np.inf, 127), (-np.inf, -128)):
        rows = np.tile(middle, (3, 1))
        np.fill_diagonal(rows, odd)
        found = call(build, "q", rows, np.int8, 4)
        assert not found[:, 0].any()
        if wanted is not None:
            assert (np.diagonal(found[:, 1:]) == wanted).all()


def test_dequantise(certified, call):
    value = certified.graph.values["y"]
    q = np.tile(np.arange(-128, 128, dtype=np.int8)[:, None], (1, 4))
    found = call(certified, "d", q, np.float32, 4)
    exact = [float(value.quant.scale[0] * (int(k) - value.quant.zero)) for k in q[:, 0]]
    np.testing.assert_array_equal(found, np.tile(np.array(exact, np.float32)[:, None], (1, 4)))


def test_a_box_that_no_integer_meets(certified, call, tmp_path):
    """It compiles, and nothing is in it."""
    folder = shutil.copytree(certified.folder, tmp_path / "beyond")
    build = tinybound.load(folder)
    build.certify(tinybound.build.Box({"x": np.full(3, 50.0)}, {"x": np.full(3, 60.0)}))
    q = np.random.default_rng(0).integers(-128, 128, (100, 3)).astype(np.int8)
    assert not call(tinybound.load(folder), "i", q, np.int8, 1).any()
