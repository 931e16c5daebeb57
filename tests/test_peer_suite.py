# SPDX-License-Identifier: Apache-2.0
"""The backend tests of onnx itself: what tinybound takes, it takes right (see peer_suite.py)."""

import pytest
from peer_suite import Refused, Unusable, cases, integers, meaning, prepare
from pipeline import same_network

CASES = {case.name: case for case in cases()}
FEWEST = 310  # cases that pass now; no change may lose one unseen


def _run(case, work, check):
    try:
        return check(prepare(case, work))
    except (Refused, Unusable):
        return None


def _meaning(prepared):
    """What compiles, the independent checker reads as the same network."""
    compared = meaning(prepared)
    assert same_network(prepared.path) >= 0
    return compared


def test_float_meaning(tmp_path):
    results = {name: _run(case, tmp_path, _meaning) for name, case in CASES.items()}

    compared = [count for count in results.values() if count]
    print(f"{len(compared)} of {len(CASES)} cases pass, {sum(compared)} elements")
    assert len(compared) >= FEWEST


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_integers(name, tmp_path):
    """quantise -> golden == C on this computer, and within the certificate's bound of the float meaning."""
    compared = _run(CASES[name], tmp_path, lambda prepared: integers(prepared, tmp_path))
    if compared is None:
        pytest.skip("refused by name, or no model with a batch of real inputs (peer_suite.py lists them)")
    assert compared > 0
