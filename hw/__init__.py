# SPDX-License-Identifier: Apache-2.0
"""Hand-written Verilog-2005 blocks; package data, read through importlib.resources."""
