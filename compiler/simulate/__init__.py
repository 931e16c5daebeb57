# SPDX-License-Identifier: Apache-2.0
"""Executors: the golden model, the generated C on the host and on emulated cores, the Verilog under Verilator."""
