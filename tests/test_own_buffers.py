# SPDX-License-Identifier: Apache-2.0
"""Networks whose inputs and outputs lie in their own arena (--buffers arena): same integers, less memory."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from test_many_ports import model as ports

import tinybound
from tinybound.errors import CompileError
from tinybound.firmware_image import board_of, make_firmware
from tinybound.simulate.executors import flatten
from tinybound.simulate.machine import STRICT
from tinybound.tools import run

EXECUTORS = ["host", "host-sanitized", "cortex-m4", "rv32imc"]
AD = Path(__file__).resolve().parents[2] / "shared" / "data" / "mlperf_tiny" / "kj_ad_qdq.onnx"


def both(path, folder, **options):
    """The same network with the caller's buffers and with its own."""
    return [
        tinybound.compile(path, folder / buffers, tinybound.Options(buffers=buffers, target="c", **options))
        for buffers in ("caller", "arena")
    ]


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    return both(ports(folder / "ports.onnx"), folder, domain="-1,1")


def test_every_executor_agrees_on_every_layer(many):
    verdict = many[1].verify(EXECUTORS)

    for name, stage in verdict.stages.items():
        print(f"{name}: {stage.mismatches} of {stage.elements}")
        assert stage.elements > 1000
    assert verdict.ok


def test_run_time_bits(examples, tmp_path):
    """pool64: scratch memory and a second run function."""
    options = {"weights": ("pool64",), "calibration": examples / "digits_cnn_calibration.npz"}
    _, own = both(examples / "digits_cnn.onnx", tmp_path, **options)

    verdict = own.verify(["host", "cortex-m4"])

    assert verdict.ok
    assert len([x for x in verdict.stages["host"].layers if "@ 3 bits" in x.layer]) > 5


def test_all_memory_counts_and_is_no_more(many):
    caller, own = (build.report for build in many)

    assert caller["ram_total_bytes"] == caller["ram_bytes"] + caller["input_bytes"] + caller["output_bytes"]
    assert own["ram_total_bytes"] == own["ram_bytes"]  # which is .bss of the object: tests/test_sizes.py
    assert own["ram_bytes"] < caller["ram_total_bytes"]
    print(f"{caller['ram_total_bytes']} B with the caller's buffers, {own['ram_bytes']} B with its own")


@pytest.mark.slow
def test_firmware_counts_the_network_alone(many):
    """Copying vectors in and out is the driver's: counts differ by less than an element copied."""
    counts = [make_firmware(build, board_of("cortex-m4"))["instructions"]["cortex-m4"] for build in many]

    print(counts)
    assert abs(counts[0] - counts[1]) < 60


def test_a_new_certificate_keeps_the_buffers(many, tmp_path):
    own = tinybound.load(many[1].folder)
    own.certify()

    again = tinybound.load(own.folder)
    assert "#define ports_OWN_BUFFERS 1" in (again.folder / "c" / "ports.h").read_text()
    assert again.report["buffers"] == "arena"


USER = """
#include <stdio.h>
#include <string.h>
#include "ports.h"
int main(void)
{
  int8_t in[32 + 6 + 3];
  while (fread(in, sizeof in, 1, stdin) == 1) {
    memcpy(ports_input(), in, 32);
    memcpy(ports_input1(), in + 32, 6);
    memcpy(ports_input2(), in + 38, 3);
    if (ports_run() != 0) {
      return 1;
    }
    fwrite(ports_output(), 1, ports_OUTPUT_SIZE, stdout);
    fwrite(ports_output1(), 1, ports_OUTPUT1_SIZE, stdout);
    fwrite(ports_output2(), 1, ports_OUTPUT2_SIZE, stdout);
  }
  return 0;
}
"""


def test_as_a_user_calls_it(many, tmp_path):
    """A program of its own, vector after vector in the same memory, against the golden model."""
    (tmp_path / "user.c").write_text(USER)
    folder = many[1].folder / "c"
    run(["gcc", *STRICT, "-fsanitize=address,undefined", f"-I{folder}", tmp_path / "user.c",
         folder / "ports.c", "-o", tmp_path / "user"])  # fmt: skip
    vectors = many[1].vectors()
    flat = flatten(many[1].graph, vectors)

    done = subprocess.run([tmp_path / "user"], input=flat.tobytes(), capture_output=True, check=True)

    found = np.frombuffer(done.stdout, np.int8).reshape(len(flat), -1)
    expected = many[1].simulate({f"{n}__q": x for n, x in vectors.items()})
    parts = [expected[f"{n}__q"].reshape(len(flat), -1) for n in many[1].graph.outputs]
    np.testing.assert_array_equal(found, np.concatenate(parts, axis=1))
    print(f"{found.size} integers")


def test_the_header_is_cplusplus_too(many, tmp_path):
    text = '#include "ports.h"\nint main() { return *ports_output() + ports_run(); }\n'
    (tmp_path / "user.cpp").write_text(text)
    run(["g++", "-Wall", "-Wextra", "-Werror", "-std=c++98", f"-I{many[1].folder / 'c'}", "-c",
         tmp_path / "user.cpp", "-o", tmp_path / "o"])  # fmt: skip


@pytest.mark.skipif(not AD.exists(), reason="the MLPerf Tiny models are not here")
def test_anomaly_detection_in_768_bytes(tmp_path):
    """640 + 128: no network that reads 640 and writes 128 can need less. Goal: 0.8 KB."""
    caller, own = both(AD, tmp_path)

    assert caller.report["ram_total_bytes"] == 256 + 2 * 640
    assert own.report["ram_bytes"] == 640 + 128
    assert own.verify(["host"]).ok


def test_the_option_is_checked():
    for wrong in ("heap", "", "Arena"):
        with pytest.raises(CompileError, match="--buffers"):
            tinybound.Options(buffers=wrong)
