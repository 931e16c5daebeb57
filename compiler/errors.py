# SPDX-License-Identifier: Apache-2.0
"""Errors a user sees: one line that says where, what was found, what was expected and what to do."""


class TinyboundError(Exception):
    """Base of every expected failure; `exit_code` is what the command line returns."""

    exit_code = 2

    def __init__(self, where: str, found: str, expected: str = "", remedy: str = "") -> None:
        self.where, self.found, self.expected, self.remedy = where, found, expected, remedy
        self.details: dict[str, object] = {}  # what --json says beside the line
        parts = [found]
        if expected:
            parts.append(f"expected {expected}")
        if remedy:
            parts.append(f"try {remedy}")
        super().__init__(f"{where}: {'; '.join(parts)}")


class CompileError(TinyboundError):
    """Bad input or bad usage."""


class PromiseError(TinyboundError):
    """A promise (exactness, bound) or a budget does not hold."""

    exit_code = 1


class ToolMissing(TinyboundError):
    """An external program is not installed."""

    exit_code = 3
