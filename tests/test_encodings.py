# SPDX-License-Identifier: Apache-2.0
"""decode(encode(W)) == W for every encoding, and the bit-serial identity of pools."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tinybound.encodings import ENCODINGS, encoding_of, make_pool
from tinybound.encodings.pool64 import Pool64
from tinybound.errors import CompileError

quick = settings(max_examples=200, deadline=None, derandomize=True)
SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 40))
POWERS = [0, *(s * 2**e for s in (-1, 1) for e in range(7))]
LEGAL = {"int8": st.integers(-128, 127), "int4": st.integers(-8, 7), "pot4": st.sampled_from(POWERS)}
LEGAL |= {"int16": st.integers(-(1 << 15), (1 << 15) - 1)}


def test_every_code_of_the_compiler_has_an_encoding():
    from tinybound.quantise.weights import CODES

    assert {*CODES, "int16"} == {*ENCODINGS, "pool64"}  # which a file brings, nobody asks for
    assert set(LEGAL) == set(ENCODINGS)  # a new encoding: say above which weights are legal
    assert {e.name for e in ENCODINGS.values()} == set(ENCODINGS)


@pytest.mark.parametrize("code", LEGAL)
def test_decode_of_encode_is_the_identity(code):
    @quick
    @given(st.data())
    def check(data):
        rows = data.draw(arrays.arrays(np.int64, SHAPES, elements=LEGAL[code]))
        encoding = encoding_of(code, None)
        stored = encoding.encode(rows)
        assert stored.dtype == np.uint8
        assert stored.shape[0] == rows.shape[0]
        np.testing.assert_array_equal(encoding.decode(stored, rows.shape[1]), rows)

    check()


@quick
@given(st.integers(0, 2**32), st.integers(1, 64), st.integers(1, 6), st.integers(1, 5))
def test_decode_of_encode_is_the_identity_for_pools(seed, count, outputs, groups):
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-127, 128, (count, 8))
    rows = vectors[rng.integers(0, count, (outputs, groups))].reshape(outputs, 8 * groups)
    pool = make_pool([rows, vectors[:1]])
    assert encoding_of("pool64", pool) is pool
    assert pool.vectors.shape == (64, 8)

    stored = pool.encode(rows)

    assert stored.dtype == np.uint8
    assert stored.shape == (outputs, groups)
    assert stored.max() < 64
    np.testing.assert_array_equal(pool.decode(stored, 8 * groups), rows)


def test_pot4_has_every_weight_in_its_documented_nibble():
    rows = np.array([[0, 1, 2, 4, 8, 16, 32, 64, 0, -1, -2, -4, -8, -16, -32, -64]])
    stored = ENCODINGS["pot4"].encode(rows)
    nibbles = [n for byte in stored[0].tolist() for n in (byte & 15, byte >> 4)]
    assert nibbles == [0, 1, 2, 3, 4, 5, 6, 7, 0, 9, 10, 11, 12, 13, 14, 15]
    assert ENCODINGS["pot4"].encode(rows[:, :3]).shape == (1, 2)  # an odd row ends with a zero weight


def test_int4_stores_as_onnx_does():
    rows = np.array([[0, 1, 7, -8, -1], [-1, 2, 3, 4, 5]])
    stored = ENCODINGS["int4"].encode(rows)
    assert stored.tolist() == [[0x10, 0x87, 0x0F], [0x2F, 0x43, 0x05]]  # an odd row ends with a zero weight


REFUSED = [("int8", 128), ("int8", -129), ("int4", 8), ("int4", -9),
           ("pot4", 3), ("pot4", 128), ("pot4", -127)]  # fmt: skip


@pytest.mark.parametrize(("code", "weight"), REFUSED)
def test_a_weight_without_a_code_is_refused(code, weight):
    rows = np.zeros((3, 4), np.int64)
    rows[1, 2] = weight
    with pytest.raises(CompileError, match=code):
        ENCODINGS[code].encode(rows)


def test_a_vector_outside_the_pool_is_refused():
    pool = make_pool([np.arange(16).reshape(2, 8)])
    with pytest.raises(CompileError, match="pool64: a vector outside the pool"):
        pool.encode(np.ones((1, 8), np.int64))


def test_65_vectors_are_too_many():
    vectors = np.arange(65 * 8).reshape(65, 8) % 101
    with pytest.raises(CompileError, match="65 distinct vectors"):
        make_pool([vectors])
    assert make_pool([]) is None
    np.testing.assert_array_equal(
        np.unique(make_pool([vectors[:64]]).vectors, axis=0), np.unique(vectors[:64], axis=0)
    )


def test_the_table_holds_every_subset_sum():
    vectors = np.random.default_rng(1).integers(-127, 128, (64, 8))
    table = Pool64(vectors).table()
    assert table.shape == (256, 64)
    for byte in range(256):
        chosen = [i for i in range(8) if byte >> i & 1]
        np.testing.assert_array_equal(table[byte], vectors[:, chosen].sum(axis=1))
    assert np.abs(table).max() <= 8 * 127 < 1 << 11  # 12 bits


@pytest.mark.parametrize("bits", range(8, 1, -1))
def test_bit_serial_equals_the_truncated_meaning(bits):
    """sum of table << plane over the top planes, and the folded zero point = sum (q' - zero) * w."""
    rng = np.random.default_rng(bits)
    vectors = rng.integers(-127, 128, (64, 8))
    vectors[:3] = [[127] * 8, [-127] * 8, [0] * 8]
    table = Pool64(vectors).table()
    edge = [[-128] * 8, [127] * 8, [0] * 8, [-1] * 8, [1, -1] * 4]
    x = np.concatenate([edge, rng.integers(-128, 128, (2000, 8))])
    zeros = rng.integers(-128, 128, len(x))
    zeros[:3] = [-128, 127, 0]
    x[5:600] = zeros[5:600, None]  # what padding reads
    compared = 0
    for i in (0, 1, 2, *rng.integers(0, 64, 8)):
        u = x + 128
        planes = [(u >> p & 1) @ (1 << np.arange(8)) for p in range(8)]
        serial = (
            sum(table[planes[p], i] << p for p in range(7, 7 - bits, -1)) - (zeros + 128) * vectors[i].sum()
        )
        step = 1 << (8 - bits)
        meaning = ((x // step * step - zeros[:, None]) * vectors[i]).sum(axis=1)
        np.testing.assert_array_equal(serial, meaning)
        compared += len(x)
    print(f"{compared} sums compared at {bits} bits")
