# SPDX-License-Identifier: Apache-2.0
"""The tables of docs/certified.md: what is found, what each domain alone proves, what a search certifies.

.venv/bin/python benchmarks/certify.py                                    # everything, an hour or two
.venv/bin/python benchmarks/certify.py --tasks 'acas/*/int8/*-r6' --check
.venv/bin/python benchmarks/certify.py --tasks 'acas/1_1/int8/p?' --svg docs/certify.svg

A task is GROUP/NETWORK/WEIGHTS/BOX (--list), as in benchmarks/certify_tasks.py. Each is appended to
--results as it ends: a run that is interrupted goes on where it was, and --print makes tables and plots of
what is there. Seconds, limits among them, are of the processor, without those in which networks are compiled.
The networks of others are read from --data; tasks whose files are missing are left out.
"""

import argparse
import fnmatch
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from both_ends import both_ends
from certify_tasks import DATA, tasks

from tinybound.boxes import Box
from tinybound.build import compile as compile_model
from tinybound.certify.certificate import certify
from tinybound.certify.effort import Effort, passes_of, thorough
from tinybound.checker import check_certificate
from tinybound.pipeline import build_networks

KINDS = ("interval", "zonotope", "product", "crown")
RESULTS = Path(__file__).resolve().parents[1] / "out" / "certify.jsonl"
HEADS = (
    *("network", "weights", "box", "found", *KINDS),
    *("certified", "ratio", "goal", "leaves", "s", "checker s"),
)
SLOWER = 20  # times a limit in processor seconds that a clock may show
CHANGE = 1.002  # of an end, that its plot shows


def built(task, folder, *, check):
    """Both networks, their domain, and the build that a checker wants."""
    model, options = task.files()
    if check:
        build = compile_model(model, folder, options)
        return build.float_graph, build.graph, build.domain, build
    nets = build_networks(model, options)
    return nets.float_graph, nets.integer_graph, nets.domain, None


def measured(task, networks, limit):
    """What is kept of one task."""
    real, whole, box, build = networks
    if task.ends is not None:
        (source,), (lower, upper) = whole.inputs, task.ends(whole)
        box = Box({source: lower}, {source: upper})
    start, wall, curve = time.process_time(), time.perf_counter(), []

    def progress(low, high):
        last = curve[-1] if curve else (0, 0, np.inf)
        if low == 0:  # the domains, before anything is sought
            return
        if low > CHANGE * last[1] or high * CHANGE < last[2]:
            curve.append((round(time.process_time() - start, 3), low, high))

    def stop():
        return time.process_time() - start > limit

    if task.whole:
        effort = Effort(passes=passes_of(task.whole)["passes"], stop=stop)
    else:
        effort = replace(thorough(SLOWER * limit), stop=stop, progress=progress)
    if build is None:
        made = certify(real, whole, box.lower, box.upper, hashes={}, effort=effort)
    else:
        made = build.certify(box, effort=effort)
    seconds, found, certified = time.process_time() - start, made.attack.largest, _largest(made.bound)
    row = {
        "task": task.name,
        "limit": limit,
        "goal": task.goal,
        "found": found,
        "certified": certified,
        **{kind: _largest(each) for kind, each in made.alone.items()},
        "leaves": made.fields["tree"].count(None),
        "s": round(seconds, 2),
        "wall s": round(time.perf_counter() - wall, 2),
        "curve": _curve(made, curve, seconds),
    }
    if build is not None:
        start = time.process_time()
        verdict = check_certificate(build.folder / "certificate.json", build.folder)
        assert verdict["accepted"], verdict["reason"]
        row["checker s"] = round(time.process_time() - start, 2)
    return row


def _curve(made, between, seconds):
    """(seconds, found, certified), from what the domains give to the end."""
    found, first = made.attack.largest, min(map(_largest, made.alone.values()))
    ends = (0, between[0][1] if between else found, first), (round(seconds, 3), found, _largest(made.bound))
    return [ends[0], *between, ends[1]]


def _largest(bound):
    return max(float(each.max()) for each in bound.values())


def known(results):
    """Rows of earlier runs, by their tasks; the last one counts. Half a line is one that was interrupted."""
    rows = {}
    for line in results.read_text().splitlines() if results.exists() else ():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        rows[row["task"]] = row
    return rows


def keep(results, row):
    """Append a row, behind whole lines."""
    results.parent.mkdir(parents=True, exist_ok=True)
    torn = results.exists() and not results.read_bytes().endswith(b"\n")
    with results.open("a") as file:
        file.write("\n" * torn + json.dumps(row) + "\n")


def ratio(row):
    """Of both ends."""
    return row["certified"] / row["found"] if row["found"] else np.inf


def line(row):
    """Of the table."""
    _, *names = row["task"].split("/")
    goal = "" if row["goal"] is None else f"{row['goal'][0]:g} in {row['goal'][1]:g} s"
    alone = [f"{row[kind]:.4g}" if kind in row else "" for kind in KINDS]
    numbers = f"{row['found']:.5g}", *alone, f"{row['certified']:.5g}", f"{ratio(row):.3f}", goal
    spent = str(row["leaves"]), str(row["s"]), str(row.get("checker s", ""))
    return f"| {' | '.join([*names, *numbers, *spent])} |"


def groups(rows):
    """One line each for the networks and boxes of a kind: how many, the worst and the median."""
    kinds = {}
    for row in rows:
        group, _, code, box = row["task"].split("/")
        kind = box.partition("-")[2] or (box if not box.isdigit() else "ball")
        kinds.setdefault((group, code, kind), []).append(row)
    print(
        "\n| kind | weights | box | tasks | ratio, at most | median | s, at most | median |\n"
        + "|---" * 8
        + "|"
    )
    for names, each in kinds.items():
        ratios = sorted(map(ratio, each))
        seconds = sorted(row["s"] for row in each)
        cells = *names, str(len(each)), *(f"{v:.3f}" for v in (ratios[-1], ratios[len(ratios) // 2]))
        print(f"| {' | '.join(cells)} | {seconds[-1]:.2f} | {seconds[len(seconds) // 2]:.2f} |")


def run(wanted, options, work):
    """Rows of the wanted tasks, in their order, printed as they come."""
    print("| " + " | ".join(HEADS) + " |\n" + "|---" * len(HEADS) + "|")
    rows, before, last = [], known(options.results), (None, None)
    for task in wanted:
        row = before.get(task.name)
        if options.print and row is None:
            continue
        unchecked = row is not None and options.check and "checker s" not in row
        if row is None or ((options.again or unchecked) and not options.print):
            name = task.name.rpartition("/")[0].replace("/", "-")
            if last[0] != name:
                last = name, built(task, work / name, check=options.check)
            limit = task.limit if options.limit is None else options.limit
            row = measured(task, last[1], limit)
            keep(options.results, row)
        print(line(row), flush=True)
        rows.append(row)
    return rows


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--tasks", default="*", help="patterns of names, in this order, with commas between them"
    )
    parser.add_argument("--limit", type=float, help="seconds that each may take")
    parser.add_argument(
        "--check", action="store_true", help="and the checker's verdict; again where it is missing"
    )
    parser.add_argument("--again", action="store_true", help="also tasks with results")
    parser.add_argument("--print", action="store_true", help="results that there are, and nothing new")
    parser.add_argument("--list", action="store_true", help="names of tasks")
    parser.add_argument("--svg", type=Path, help="a plot of both ends over time, of each of these tasks")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of acasxu/, mnist/, images/ ...")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as work:
        every = tasks(options.data, Path(work))
        names = [name for p in options.tasks.split(",") for name in fnmatch.filter(every, p)]
        wanted = [every[name] for name in dict.fromkeys(names)]
        if not wanted or options.list:
            print("\n".join(task.name for task in wanted) or f"no task {options.tasks!r}: see --list")
            return 0 if wanted else 2
        rows = run(wanted, options, Path(work))
    if len(rows) > 1:
        groups(rows)
    if options.svg:
        titles = [" ".join(row["task"].split("/")[1:]) for row in rows]
        options.svg.write_text(both_ends(list(zip(titles, (row["curve"] for row in rows), strict=True))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
