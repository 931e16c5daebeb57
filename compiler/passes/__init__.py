# SPDX-License-Identifier: Apache-2.0
"""Exact graph-to-graph steps, one file per pass."""
