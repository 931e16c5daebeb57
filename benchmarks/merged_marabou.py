# SPDX-License-Identifier: Apache-2.0
"""A merged network (tinybound certify --export-merged M.onnx) as queries for Marabou, of Dense layers only.

python3 -m venv OTHER && OTHER/bin/pip install maraboupy==2.0.0 onnx
OTHER/bin/python benchmarks/merged_marabou.py M.onnx M.vnnlib --factor 2

A rounding is relaxed to |n - x| <= 1/2 (docs/verify-with-others.md says why), so that `unsat` holds for every
rule, and `sat` may be the relaxation's. `--factor`: how much above M.vnnlib's bounds is asked for. The first
query asks for nothing: what answers it with anything but `sat` is not to be believed.
"""

import argparse
import re
import sys
from pathlib import Path

import numpy as np
import onnx
from maraboupy import Marabou, MarabouCore
from onnx import numpy_helper

WIDER = 1e-6  # of ranges, beyond what Marabou's own tolerance moves


def read_query(text):
    """[(lower, upper)] per input element, [(">=" or "<=", output element, number)]."""
    ends = {
        (int(i), way): float(v) for way, i, v in re.findall(r"assert \((>=|<=) X_(\d+) ([^\s)]+)\)", text)
    }
    outputs = re.findall(r"and \((>=|<=) Y_(\d+) ([^\s)]+)\)", text)
    box = [(ends[i, ">="], ends[i, "<="]) for i in range(len(ends) // 2)]
    return box, [(way, int(i), float(v)) for way, i, v in outputs]


class Merged:
    """The network as variables with ranges, equations, and relus; one variable per element."""

    def __init__(self, model, box):
        self.ranges, self.equations, self.relus, self.rounds = [], [], [], []
        held = {t.name: numpy_helper.to_array(t).astype(float) for t in model.graph.initializer}
        self.inputs = [self.variable(low, high) for low, high in box]
        values = {model.graph.input[0].name: self.inputs}
        for node in model.graph.node:
            others = [values.get(name, held.get(name)) for name in node.input]
            values[node.output[0]] = self.node(node, *others)
        self.outputs = values[model.graph.output[0].name]

    def variable(self, low, high):
        self.ranges.append((low - WIDER, high + WIDER))
        return len(self.ranges) - 1

    def sum(self, terms, offset=0.0):
        """A variable for offset + sum of factor * variable."""
        ends = [sorted(w * end for end in self.ranges[x]) for w, x in terms]
        out = self.variable(offset + sum(e[0] for e in ends), offset + sum(e[1] for e in ends))
        self.equations.append(([(-1.0, out), *terms], -offset))
        return out

    def relu(self, x):
        low, high = self.ranges[x]
        out = self.variable(max(low, 0.0), max(high, 0.0))
        self.relus.append((x, out))
        return out

    def rounded(self, x):
        low, high = self.ranges[x]
        out = self.variable(round(low), round(high))
        self.rounds.append((x, out))
        return out

    def node(self, node, xs, other=None, bias=None):
        """The variables of a node's result."""
        constant = isinstance(other, np.ndarray)
        each = (
            np.broadcast_to(np.ravel(other), len(xs)).tolist()
            if constant and other.size in (1, len(xs))
            else []
        )
        match node.op_type:
            case "Gemm":
                matrix = other if any(a.name == "transB" and a.i for a in node.attribute) else other.T
                rows = zip(matrix.tolist(), bias.tolist(), strict=True)
                return [self.sum([(w, x) for w, x in zip(row, xs, strict=True) if w], b) for row, b in rows]
            case "Cast" | "Reshape" | "Concat" if len(node.input) <= 2:
                return xs
            case "Relu":
                return [self.relu(x) for x in xs]
            case "Round":
                return [self.rounded(x) for x in xs]
            case "Mul" | "Div" if each:
                return [
                    self.sum([(c if node.op_type == "Mul" else 1 / c, x)])
                    for c, x in zip(each, xs, strict=True)
                ]
            case "Add" | "Sub" if each:
                sign = 1 if node.op_type == "Add" else -1
                return [self.sum([(1.0, x)], sign * c) for c, x in zip(each, xs, strict=True)]
            case "Sub":
                return [self.sum([(1.0, x), (-1.0, y)]) for x, y in zip(xs, other, strict=True)]
            case "Max" | "Min" if each:  # max(x, c) = c + relu(x - c), min(x, c) = c - relu(c - x)
                s = 1.0 if node.op_type == "Max" else -1.0
                over = [self.relu(self.sum([(s, x)], -s * c)) for c, x in zip(each, xs, strict=True)]
                return [self.sum([(s, x)], c) for c, x in zip(each, over, strict=True)]
        sys.exit(f"error: {node.name}: {node.op_type}; expected operators of Dense layers and clips")

    def solve(self, way=None, output=0, number=0.0, seconds=60):
        """Marabou's answer: is the output at or beyond the number anywhere?"""
        query = MarabouCore.InputQuery()
        query.setNumberOfVariables(len(self.ranges))
        for x, (low, high) in enumerate(self.ranges):
            if x == self.outputs[output] and way:
                low, high = (max(low, number), high) if way == ">=" else (low, min(high, number))
                if low > high:
                    return "unsat"
            query.setLowerBound(x, low)
            query.setUpperBound(x, high)
        for terms, right in self.equations:
            add(query, MarabouCore.Equation(), terms, right)
        for x, n in self.rounds:
            for sign in (1.0, -1.0):
                add(query, MarabouCore.Equation(MarabouCore.Equation.LE), [(sign, n), (-sign, x)], 0.5)
        for x, y in self.relus:
            MarabouCore.addReluConstraint(query, x, y)
        options = Marabou.createOptions(verbosity=0, timeoutInSeconds=seconds)
        return MarabouCore.solve(query, options, "")[0]


def add(query, equation, terms, right):
    for w, x in terms:
        equation.addAddend(w, x)
    equation.setScalar(right)
    query.addEquation(equation)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("query", type=Path)
    parser.add_argument("--factor", type=float, default=1.0)
    options = parser.parse_args()
    box, outputs = read_query(options.query.read_text())
    merged = Merged(onnx.load(options.model), box)
    control = merged.solve()
    print(f"nothing asked: {control}")
    answers = []
    for way, i, number in outputs:
        answers.append(merged.solve(way, i, number * options.factor))
        print(f"difference[{i}] {way} {number * options.factor:.6g}: {answers[-1]}")
    return 0 if control == "sat" and set(answers) == {"unsat"} else 1


if __name__ == "__main__":
    sys.exit(main())
