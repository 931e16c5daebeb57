# SPDX-License-Identifier: Apache-2.0
"""What the words of ops mean: numbers, ranges, and pairs of a float and an integer network."""
