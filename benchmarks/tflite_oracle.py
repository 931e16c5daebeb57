# SPDX-License-Identifier: Apache-2.0
"""The table of docs/semantics.md: our rounding modes against the executors of TFLite, layer by layer.

.venv/bin/pip install -e .[oracles]
.venv/bin/python benchmarks/tflite_oracle.py ../shared/data/mlperf_tiny/*_int8.tflite      # some minutes
.venv/bin/python benchmarks/tflite_oracle.py --layers --count 10 MODEL.tflite

Each layer of ours is fed with what the executor fed to its own. Inputs are random over all of int8.
"""

import argparse
import sys
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from tflite_micro import runtime
from tflite_network import Reader, first

from tinybound.certify.batch import Batch
from tinybound.domains.exact import Exact
from tinybound.ops import Softmax
from tinybound.rounding import MODES


def litert(resolver):
    """All tensors of one inference by LiteRT."""

    def start(path, wanted):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # keeping all tensors is for debugging: this is debugging
            machine = Interpreter(
                str(path), experimental_op_resolver_type=resolver, experimental_preserve_all_tensors=True
            )
        machine.allocate_tensors()
        source = machine.get_input_details()[0]["index"]

        def infer(x):
            machine.set_tensor(source, x)
            machine.invoke()
            return {index: machine.get_tensor(index) for index in wanted}

        return infer

    return start


def micro(path, wanted):
    """All tensors of one inference by TFLite Micro."""
    machine = runtime.Interpreter.from_file(
        str(path), intrepreter_config=runtime.InterpreterConfig.kPreserveAllTensors, arena_size=1 << 24
    )

    def infer(x):
        machine.set_input(x, 0)
        machine.invoke()
        return {index: np.array(machine.GetTensor(index, 0)["tensor_data"]) for index in wanted}

    return infer


EXECUTORS = {
    "reference": litert(OpResolverType.BUILTIN_REF),
    "optimised": litert(OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES),
    "XNNPACK": litert(OpResolverType.AUTO),
    "TFLite Micro": micro,
}


def observe(executor, path, values, x):
    """value -> (N, *shape), channels first, of every stored value for inputs (N, *shape of the file)."""
    wanted = [int(name.split()[1]) for name in values]
    infer = EXECUTORS[executor](path, wanted)
    seen = [infer(one[None]) for one in x]
    found = {f"value {i}": first(np.concatenate([each[i] for each in seen])) for i in wanted}
    return {
        name: array.reshape(len(x), *values[name].shape).astype(np.int64) for name, array in found.items()
    }


def meaning(node, xs):
    """The golden model's result for N inputs at once."""
    if isinstance(node.op, Softmax):
        return np.stack([node.op.meaning(Exact(), row) for row in xs[0]])
    return node.op.meaning(Batch(), *xs)


def numbers(ours, theirs):
    """(equal, compared, largest difference)."""
    gap = np.abs(ours - theirs)
    return int((gap == 0).sum()), gap.size, int(gap.max())


def agreement(graph, seen):
    """value -> numbers: every layer on the inputs that the executor had; and `network`, the outputs of the
    whole network left to itself."""
    found, sums = {}, {}
    free = {name: seen[name] for name in graph.inputs}
    for node in graph.nodes:
        free[node.output] = meaning(node, [free[name] for name in node.inputs])
        if node.output not in seen:
            sums[node.output] = meaning(node, [seen[name] for name in node.inputs])
            continue
        xs = [sums.pop(name) if name in sums else seen[name] for name in node.inputs]
        found[node.output] = numbers(meaning(node, xs), seen[node.output])
    found["network"] = numbers(*(np.concatenate([at[n] for n in graph.outputs], 1) for at in (free, seen)))
    return found


def compare(path, count, seed=0, executors=tuple(EXECUTORS)):
    """Rows (executor, mode, value, kind, equal, compared, largest difference)."""
    reader = Reader(path)
    graphs = {mode: reader.network(mode) for mode in MODES.values()}
    stored = {name: reader.values[name] for name in reader.wanted}
    source = reader.tensors[int(reader.inputs[0].split()[1])]
    x = np.random.default_rng(seed).integers(-128, 128, (count, *source.shape[1:]), np.int8)
    for executor in executors:
        seen = observe(executor, path, stored, x)
        for mode, graph in graphs.items():
            for value, found in agreement(graph, seen).items():
                yield executor, mode, value, reader.kinds.get(value, "outputs"), *found


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--count", type=int, default=100, help="inputs per network")
    parser.add_argument(
        "--layers", action="store_true", help="every layer, not sums over the kinds of layers"
    )
    wanted = parser.parse_args()
    for path in wanted.models:
        total, worst = Counter(), {}
        for executor, mode, value, kind, equal, compared, gap in compare(path, wanted.count):
            place = f"{kind} {value}" if wanted.layers else kind
            key = place, executor, mode
            total[key, "differ"] += compared - equal
            total[key, "of"] += compared
            worst[key] = max(worst.get(key, 0), gap)
        print(f"\n{path.name}, {wanted.count} inputs: elements that differ (largest difference)\n")
        print(f"| layer | executor | of | {' | '.join(MODES)} |\n|---|---|---|---|---|---|")
        for place, executor in dict.fromkeys(key[:2] for key in worst):
            keys = [(place, executor, mode) for mode in MODES.values()]
            cells = [f"{total[k, 'differ']} ({worst[k]})" if worst[k] else "0" for k in keys]
            print(f"| {place} | {executor} | {total[keys[0], 'of']:,} | {' | '.join(cells)} |")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
