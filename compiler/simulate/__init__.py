# SPDX-License-Identifier: Apache-2.0
"""Executors: golden model, C on the host and on emulated cores, Verilog under Verilator."""
