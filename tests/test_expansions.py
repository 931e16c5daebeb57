# SPDX-License-Identifier: Apache-2.0
"""ONNX nodes written as simpler ones: ONNX Runtime's meaning, and certificates that the checker accepts."""

import numpy as np
import pytest
from onnx_forms_expanded import FORMS, MAP, NEW
from onnx_nets import Net
from test_frontends import compare

from tinybound.boxes import Box
from tinybound.build import compile as compile_model
from tinybound.checker import check_certificate
from tinybound.errors import CompileError
from tinybound.frontends import load_onnx
from tinybound.options import Options


def saved(form, tmp_path):
    shape, opset, write = FORMS[form]
    net = Net(*shape, opset=opset)
    return net.save(tmp_path, write(net)), shape


@pytest.mark.parametrize("form", FORMS)
def test_the_float_meaning_is_onnx_runtimes(form, tmp_path):
    path, shape = saved(form, tmp_path)

    _, worst = compare(path, shape)

    assert worst <= 1e-5


@pytest.mark.parametrize("form", FORMS)
def test_the_checker_expands_in_its_own_way(form, tmp_path):
    path, shape = saved(form, tmp_path)
    build = compile_model(path, tmp_path / "build", Options(domain="-1,1", target="c"))
    low = np.random.default_rng(1).uniform(-1, 0.9, shape[1:])

    build.certify(Box({"x": low}, {"x": low + 0.05}))

    found = check_certificate(tmp_path / "build" / "certificate.json", tmp_path / "build")
    assert found["accepted"], found["reason"]


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda n: n.put("Squeeze", "x", n.constant([1], np.int64)), "Squeeze of axes"),
        (lambda n: n.put("Squeeze", "x", n.constant([0], np.int64)), "leave the batch axis alone"),
        (lambda n: n.put("Unsqueeze", "x", n.constant([2, 2], np.int64)), "axes that leave the batch"),
        (lambda n: n.put("ReduceMean", "x", n.constant([1], np.int64)), "mean over axes"),
        (lambda n: n.put("ReduceMean", "x", n.put("Shape", "x")), "leave the batch axis alone"),
    ],
)
def test_what_an_expansion_refuses(write, message, tmp_path):
    net = Net(*MAP, opset=NEW)
    with pytest.raises(CompileError, match=message):
        load_onnx(net.save(tmp_path, write(net)))
