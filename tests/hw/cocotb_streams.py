# SPDX-License-Identifier: Apache-2.0
"""Protocol tests of cocotb_top: stalls on both sides, frames back to back, reset in the middle of a frame."""

import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles
from cocotbext.axi import AxiStreamBus, AxiStreamFrame, AxiStreamSink, AxiStreamSource
from hw_cases import BITS, CASES

DESIGNS = list(CASES)


def stalls(seed):
    rng = random.Random(seed)
    while True:
        yield rng.random() < 0.4


async def start(dut, design, src, snk):
    """Clock and reset; the sources of `design` (one per input) and its sink, stalling as asked."""
    Clock(dut.clk, 10, unit="ns").start()
    dut.bits.value = BITS
    for name in DESIGNS:  # the other designs rest
        for port in [f"{name}_s_axis_tvalid", f"{name}_m_axis_tready"]:
            getattr(dut, port).value = 0
    dut.add_s_axis_b_tvalid.value = 0
    prefixes = [f"{design}_s_axis"] + ["add_s_axis_b"] * (design == "add")
    sources = [AxiStreamSource(AxiStreamBus.from_prefix(dut, p), dut.clk, dut.rst) for p in prefixes]
    sink = AxiStreamSink(AxiStreamBus.from_prefix(dut, f"{design}_m_axis"), dut.clk, dut.rst)
    dut.rst.value = 1
    await ClockCycles(dut.clk, 3)
    dut.rst.value = 0
    if src:
        for n, source in enumerate(sources):
            source.set_pause_generator(stalls(n))
    if snk:
        sink.set_pause_generator(stalls(9))
    return sources, sink


async def transfer(dut, sources, sink, inputs, outputs):
    """All frames without a pause between them; then nothing may be left over."""
    for source, frames in zip(sources, inputs, strict=True):
        for frame in frames:
            await source.send(AxiStreamFrame(frame))
    for frame in outputs:
        assert bytes((await sink.recv()).tdata) == frame
    await ClockCycles(dut.clk, 200)
    assert sink.empty()
    assert sink.idle()
    assert all(source.idle() for source in sources)


@cocotb.test()
@cocotb.parametrize(design=DESIGNS, src=[False, True], snk=[False, True])
async def streams(dut, design, src, snk):
    sources, sink = await start(dut, design, src, snk)

    await transfer(dut, sources, sink, *CASES[design])


@cocotb.test()
@cocotb.parametrize(design=DESIGNS, clocks=[7, 40, 61, 90, 150])
async def reset(dut, design, clocks):
    inputs, outputs = CASES[design]
    sources, sink = await start(dut, design, True, True)
    for source, frames in zip(sources, inputs, strict=True):
        for frame in frames:
            await source.send(AxiStreamFrame(frame))
    await ClockCycles(dut.clk, clocks)
    dut.rst.value = 1
    await ClockCycles(dut.clk, 2)
    for stream in (*sources, sink):
        stream.clear()
    await ClockCycles(dut.clk, 2)
    dut.rst.value = 0
    await ClockCycles(dut.clk, 1)

    await transfer(dut, sources, sink, inputs, outputs)
