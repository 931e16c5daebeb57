# SPDX-License-Identifier: Apache-2.0
"""Rounding steps: everything that changes the function lives here, one file per step."""
