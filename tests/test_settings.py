# SPDX-License-Identifier: Apache-2.0
"""Run-time activation bits in a build: a certificate, a macro and a count for each of some settings."""

import json
import re

import pytest

import tinybound
from tinybound.checker.check import check_certificate
from tinybound.errors import TinyboundError
from tinybound.firmware_image import board_of, make_firmware
from tinybound.passes.run_time_bits import REPORTED
from tinybound.tools import run

pytestmark = pytest.mark.usefixtures("quick_attack")

FEWER = REPORTED[1:]


@pytest.fixture(scope="module")
def build(cache, examples):
    options = tinybound.Options(target="c", weights=("pool64",), domain="0,1")
    return tinybound.compile(examples / "digits_mlp.onnx", cache / "settings", options)


def document(build, bits):
    name = "certificate.json" if bits == 8 else f"certificate_bits{bits}.json"
    return json.loads(build.file(name))


def test_every_setting_has_a_certificate_that_the_checker_accepts(build):
    for bits in REPORTED:
        assert document(build, bits)["semantics"]["bits"] == bits
    path = build.folder / f"certificate_bits{FEWER[-1]}.json"
    assert check_certificate(path, build.folder)["accepted"]


def test_the_header_names_the_error_of_every_setting(build):
    header = build.file(f"c/{build.artefact.name}.h").decode()
    for bits in REPORTED:
        which = "" if bits == 8 else f"_BITS_{bits}"
        (stated,) = re.findall(rf"_CERTIFIED_ERROR{which}_E9 (\d+)\n", header)
        worst = max(entry["bound_e9"] for entry in document(build, bits)["outputs"].values())
        assert int(stated) == worst > 0


@pytest.mark.parametrize("bits", REPORTED)
def test_a_build_above_its_budget_stops(build, bits):
    which = "" if bits == 8 else f"_BITS_{bits}"
    worst = max(entry["bound_e9"] for entry in document(build, bits)["outputs"].values())
    source, macro = (
        build.folder / "c" / f"{build.artefact.name}.c",
        f"{build.artefact.name}_MAX_ERROR{which}_E9",
    )
    run(["gcc", "-fsyntax-only", f"-D{macro}={worst}", source])
    with pytest.raises(TinyboundError, match=f"the certified error exceeds {macro}"):
        run(["gcc", "-fsyntax-only", f"-D{macro}={worst - 1}", source])


def test_every_setting_is_counted(build):
    report = make_firmware(build, board_of("cortex-m4"), None)
    counts = [report["settings"][str(bits)]["instructions"]["cortex-m4"] for bits in REPORTED]
    print(dict(zip(REPORTED, counts, strict=True)))
    assert counts[0] == report["instructions"]["cortex-m4"]
    assert counts == sorted(set(counts), reverse=True)
    assert all(report["settings"][str(bits)]["largest"] > 0 for bits in REPORTED)
    assert "Run-time activation bits" in build.file("report.html").decode()

    build.certify()  # counts are kept
    kept = build.report["settings"]
    assert [kept[str(bits)]["instructions"]["cortex-m4"] for bits in REPORTED] == counts
