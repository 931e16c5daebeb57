# SPDX-License-Identifier: Apache-2.0
"""tinybound compiles a trained network to C and Verilog and bounds its distance to the float network."""
