"""Short runs of each method on each kind of tasks, in both arithmetics, and what they came to under RULES_VERSION: golden.json.

python tests/presyn/golden.py [--accept | --rewrite]

Without an option it says whether the code as it is gives the numbers in golden.json. `--accept` first adds the cases of a new
method to golden.json; where no other number differs, it adds the digests of that code to presyn/known_code.json, so that its
runs have the ids that they always had. `--rewrite` writes golden.json anew, which goes with a higher RULES_VERSION.
"""

import hashlib
import json
import math
import sys
from pathlib import Path

import numpy as np
import torch

from presyn import BENCHMARKS, MEASURES, METHODS, RULES_VERSION, Dataset, PresynError, make_run, train
from presyn.benchmarks import PATTERNS
from presyn.code_digest import accept
from presyn.inputs import ARITHMETICS
from presyn.methods import PERCEPTRONS

FILE = Path(__file__).with_name("golden.json")
KINDS = {
    "split": BENCHMARKS["split-digits"],
    "permuted": BENCHMARKS["permuted-digits"],
    "continuous": BENCHMARKS["continuous-permuted-mnist"],
    "single": BENCHMARKS["digits"],
}
SMALL = {"dataset": "digits", "hidden": [12, 8], "batch_size": 20, "epochs": 2, "validation": 0}
VARIANTS = {
    "printed": {"rule": "printed"},
    "no-normalisation": {"normalise": False},
    "ghost": {"release": 0.5},
    "released-ghost": {"release": 0.5, "ghost_scale": "release"},
    "l2": {"l2": 0.01, "p_init": "uniform", "bias": "trained"},
    "plain-rate": {"modulate_lr": False, "p_freeze": 1.0},
}
CLOSE = 1e-3
"""How far a loss may be from the golden one, relatively, on another processor or version of torch than that of golden.json."""


def make_data() -> Dataset:
    """Ten noisy prototypes of 36 pixels."""
    rng = np.random.default_rng(0)
    prototypes = rng.integers(0, 17, (10, 36))
    y = (np.arange(400) % 10).astype(np.int64)
    x = np.clip(prototypes[y] + rng.integers(-3, 4, (400, 36)), 0, 16).astype(np.uint8)
    return Dataset.from_arrays("digits", (x[:300], y[:300], x[300:], y[300:]), (16, 0.3053, 0.3760))


def runs() -> dict[str, list]:
    """Name -> two members of a cohort."""
    cases = {}
    for kind, benchmark in KINDS.items():
        for method in METHODS:
            settings = SMALL | ({} if kind == "single" else {"tasks": 2})
            cases[f"{method} {kind}"] = [make_run(method, benchmark, seed, settings) for seed in (1, 2)]
    measured = {**SMALL, "measures": tuple(name for name in MEASURES if name != "overlap")}
    for name, settings in VARIANTS.items():
        cases[f"presynaptic {name}"] = [make_run("presynaptic", KINDS["single"], seed, measured | settings) for seed in (1, 2)]
    compared = {**SMALL, "tasks": 2, "restarts": True, "measures": ("overlap",), "p_up": 0.3, "g_lim": 1e-4}
    cases["presynaptic overlap"] = [make_run("presynaptic", KINDS["permuted"], seed, compared) for seed in (1, 2)]
    as_authors = {**SMALL, "tasks": 2, "rule": "authors"}
    cases["bgd authors"] = [make_run("bgd", KINDS["permuted"], seed, as_authors) for seed in (1, 2)]
    for method in PERCEPTRONS:
        cases[f"{method} patterns"] = [make_run(method, PATTERNS, seed, {"epochs": 2, "patterns": 40}) for seed in (1, 2)]
    return cases


def results() -> dict[str, dict]:
    """Name -> the digest of all numbers of a case, and its loss by segment."""
    cases, images = {}, make_data()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for name, members in runs().items():
        of_patterns = members[0].benchmark.kind == "patterns"
        data = members[0].benchmark.load(None) if of_patterns else images
        for arithmetic in ("dense",) if of_patterns else ARITHMETICS:
            records = train(members, data, torch.device("cpu"), arithmetic=arithmetic)
            numbers = [[r.status, r.loss, r.accuracy, r.figures] for r in records]
            text = json.dumps(numbers, sort_keys=True)
            case = name if arithmetic == "dense" else f"{name}, {arithmetic}"
            cases[case] = {"digest": hashlib.sha256(text.encode()).hexdigest()[:16], "loss": records[0].loss}
    torch.set_num_threads(threads)
    return cases


def machine() -> str:
    """What the last bits depend on."""
    return f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}"


def add_new_cases() -> None:
    """Add the cases that golden.json does not have, which are those of a new method.

    Raises:
        PresynError: this is another kind of machine, or another version of torch, than those that made golden.json.
    """
    golden = json.loads(FILE.read_text())
    if not runs().keys() - golden["cases"].keys():
        return
    if golden["machine"] != machine():
        raise PresynError(f"Add new cases to golden.json on the kind of machine that made it: {golden['machine']}.")
    golden["cases"] = {**results(), **golden["cases"]}
    FILE.write_text(json.dumps(golden, indent=1) + "\n")


def differences() -> list[str]:
    """The cases whose numbers are not the golden ones, by name.

    To the bit on the kind of machine that made golden.json. Elsewhere losses are compared to a part in a thousand: the runs are
    so short that rounding moves them less.
    """
    golden = json.loads(FILE.read_text())
    current, same_machine = results(), golden["machine"] == machine()
    changed = [name for name in {**golden["cases"], **current} if name not in current or name not in golden["cases"]]
    for name in current.keys() & golden["cases"].keys():
        new, old = current[name], golden["cases"][name]
        same = new["digest"] == old["digest"] if same_machine else are_close(new, old)
        changed += [] if same else [name]
    return sorted(changed)


def are_close(new: dict, old: dict) -> bool:
    """Whether losses agree to CLOSE."""
    pairs = list(zip(new["loss"], old["loss"], strict=False))
    return len(new["loss"]) == len(old["loss"]) and all(math.isclose(a, b, rel_tol=CLOSE) for a, b in pairs)


def main(option: str = "") -> int:
    if option == "--rewrite":
        FILE.write_text(json.dumps({"rules_version": RULES_VERSION, "machine": machine(), "cases": results()}, indent=1) + "\n")
        return 0
    if option == "--accept":
        add_new_cases()
    changed = differences()
    if changed:
        print(f"The code gives other numbers than version {RULES_VERSION} of the rules: {', '.join(changed)}.", file=sys.stderr)
        return 1
    print(f"The code gives the numbers of version {RULES_VERSION} of the rules.")
    if option == "--accept":
        accept()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except PresynError as e:
        sys.exit(f"{e}")
