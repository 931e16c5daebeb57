# SPDX-License-Identifier: Apache-2.0
"""From the integer graph to C and Verilog: plans in Python, text by templates."""
