# SPDX-License-Identifier: Apache-2.0
"""--max-error, and --max-flash and --max-ram: refused before building where that is known, else by what the
compiler says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from math import isfinite
from typing import Any, TypeVar

from ..certify.certificate import Certificate
from ..errors import CompileError, PromiseError, ToolMissing
from ..graph import Graph
from ..kernels.choose import kernel_plan, smaller
from ..kernels.kernel_plan import KernelPlan, with_kernels
from ..options import Options
from ..targets.grouping import plan_memory
from ..targets.plan import make_plan

T = TypeVar("T")

REMEDIES = {
    "--max-flash": "a smaller model or --weights pool64",
    "--max-ram": "a smaller model or --buffers arena",
}


def budget_ahead(graph: Graph, options: Options) -> None:
    """Raise PromiseError when arena, input and output alone need more than --max-ram: before any work."""
    for flag, limit in (("--max-flash", options.max_flash), ("--max-ram", options.max_ram)):
        if limit is not None and options.target == "verilog":
            raise CompileError(flag, "no C in this build", "--target c or all")
    if options.max_ram is not None:
        plan = kernel_plan(graph, (), options.core, "size")
        outside = (*graph.inputs, *plan.outputs) if options.buffers == "caller" else ()
        least = plan_memory(plan, options.buffers).arena + sum(map(plan.bytes, outside))
        _hold("--max-ram", least, options.max_ram, " of arena, input and output, without the stack")


def first_within_budget(
    graph: Graph, options: Options, made: Callable[[KernelPlan], tuple[T, dict[str, Any]]]
) -> tuple[T, dict[str, Any]]:
    """What `made` makes, and its report, with the kernels that were asked for if these keep the budgets.

    Else with the fastest smaller ones that do, found by halving: the smallest are tried first. If they break
    the budgets too, with those of --optimise size: what a choice is predicted to need is not quite what the
    compiler makes of it. If nothing holds, the smallest of these builds.
    """
    first = made(kernel_plan(graph, (), options.core, options.optimise))
    if _within(first[1], options):
        return first
    plan = make_plan(graph)
    choices = list(smaller(plan, options.core, options.max_flash is not None, options.max_ram is not None))
    low, high = 0, len(choices) - 1  # the first breaks the budgets
    found = made(with_kernels(plan, choices[high]))
    if not _within(found[1], options):  # what is refused is told of the smallest build
        smallest = made(kernel_plan(graph, (), options.core, "size"))
        if _within(smallest[1], options):
            return smallest
        return min((smallest, found, first), key=lambda build: _needs(build[1]))
    while high - low > 1:
        middle = (low + high) // 2
        other = made(with_kernels(plan, choices[middle]))
        if _within(other[1], options):
            found, high = other, middle
        else:
            low = middle
    return found


def _needs(report: Mapping[str, Any]) -> int:
    return sum(int(report[key] or 0) for key in ("weight_bytes", "flash_bytes", "ram_with_stack_bytes"))


def _within(report: Mapping[str, Any], options: Options) -> bool:
    """Whether the budgets hold, as far as that is known."""
    try:
        budget(report, options)
    except PromiseError:
        return False
    except ToolMissing:  # for any choice
        return True
    return True


def budget(report: Mapping[str, Any], options: Options) -> None:
    """Raise PromiseError when the build needs more flash or RAM than allowed, by the core's compiler."""
    if options.max_flash is not None:
        if report["flash_bytes"] is None:
            _hold("--max-flash", report["weight_bytes"], options.max_flash, " of constants alone")
        _hold("--max-flash", _known(report, "flash_bytes", "--max-flash"), options.max_flash)
    if options.max_ram is not None:
        if report["ram_with_stack_bytes"] is None:
            _hold("--max-ram", report["ram_total_bytes"], options.max_ram, " without the stack")
        found = _known(report, "ram_with_stack_bytes", "--max-ram")
        constants = "constants, " if options.core == "avr" else ""
        _hold("--max-ram", found, options.max_ram, f" of {constants}arena, input, output and stack")


def _known(report: Mapping[str, Any], key: str, flag: str) -> int:
    if report[key] is None:
        raise ToolMissing(flag, f"{key} is unknown: {report['note']}", "the core's compiler")
    return int(report[key])


def _hold(flag: str, found: int, limit: int, of: str = "") -> None:
    if found > limit:
        raise PromiseError(flag, f"{found} bytes{of}", f"at most {limit}", REMEDIES[flag])


def within_error(certificate: Certificate, options: Options) -> None:
    """Raise PromiseError where a certificate states more than --max-error."""
    if options.max_error is None:
        return
    limit, worst = options.max_error, certificate.largest
    if not isfinite(worst) or Fraction(worst) > limit:
        raise PromiseError(
            "--max-error",
            f"certified error {worst:.9g}",
            f"at most {float(limit):.9g}",
            "a smaller --domain, or another code (--weights int8)",
        )
