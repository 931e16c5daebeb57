# SPDX-License-Identifier: Apache-2.0
"""Bounds on |float network - integer network|, attacks on them, and the certificate."""
