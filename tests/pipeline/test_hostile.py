"""Bad values of every command, environment variable, file and field: one message, exit code 1 or 2, nothing lost, no traceback.

A minute here; PRESYN_HOSTILE_SECONDS=1200 goes on for twenty.
"""

import ast
import contextlib
import io
import json
import os
import shutil
import sqlite3
import time
from collections import Counter
from copy import deepcopy
from dataclasses import fields
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

import pipeline.perform
from pipeline.cli import COMMANDS, main, make_app
from pipeline.records.store import Store
from presyn import METHODS, PresynError, make_run
from presyn.benchmarks import Benchmark
from presyn.code_digest import PACKAGE, _plain
from presyn.methods import PERCEPTRONS, method_class
from sweeps.files import read_benchmark
from sweeps.space import read_space

SECONDS = float(os.environ.get("PRESYN_HOSTILE_SECONDS", "0"))
SLOWEST = 60.0  # of a case; most take milliseconds
RULES = sorted((PACKAGE / "methods").glob("*.py"))
SERVERS = {"mlflow-ui", "optuna-dashboard", "bench"}  # what they start is not tried here

odd_words = st.one_of(
    st.sampled_from(
        [
            *(
                "",
                " ",
                "\x00",
                "-1",
                "0",
                "1e999",
                "nan",
                "inf",
                "-inf",
                "none",
                "null",
                "true",
                "[]",
                "{}",
                "[1,[2]]",
                "!!x",
                "*a",
                "&a a",
            ),
            *(
                "../..",
                "/",
                "/dev/null",
                "/proc/self/mem",
                ".",
                "~",
                "a/b/c.yaml",
                "no.yaml",
                "x" * 300,
                "[red]x[/]",
                "ä|ö",
                "%s",
                "{0}",
            ),
            *(
                "1-",
                "-",
                "3-1",
                "1-99999999999",
                "0x10",
                "1_000",
                "٣",
                "1" * 400,
                "2026-01-01",
                "cuda:77",
                "gpu",
                "ray://x",
                "http://[::1",
                "s3://",
            ),
            *(
                "permuted-digits",
                "sgd",
                "eta0=0.1",
                "=",
                "=1",
                "eta0=",
                "@",
                "@/",
                "@no.yaml",
                "a=b=c",
                "hidden=[]",
                "hidden=abc",
                "epochs=1.5",
            ),
        ]
    ),
    st.text(max_size=8),
    st.integers().map(str),
    st.floats().map(str),
)
plain = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=6), st.sampled_from([10**400, -(10**30), 1e308])
)
values = st.recursive(
    plain,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    max_leaves=4,
)
TALLY: Counter = Counter()


def _no_training(plan, writer, title, here):
    """Nothing is trained here: what would be has passed every check, which is a fair end for a value."""
    raise PresynError("would train")


class Home:
    """Where cases are tried."""

    def __init__(self, folder):
        self.folder = folder

    def __repr__(self):
        return "home"

    def tries(self, words, environment=None):
        """Give a command; it must end well, or with one message, in bounded time, and lose nothing of the store and results."""
        kept = self.kept()
        out, err, began = io.StringIO(), io.StringIO(), time.monotonic()
        before = dict(os.environ)
        os.environ.update(environment or {})
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                try:
                    code = main(words)
                except SystemExit as e:  # argparse's own
                    code = e.code
        finally:
            os.environ.clear()
            os.environ.update(before)
        told = err.getvalue()
        assert code in (0, 1, 2), (words, environment, code)
        assert "Traceback" not in told, (words, told)
        if code == 1:
            ours = [line for line in told.splitlines() if line.startswith("presyn: ")]
            assert ours, (words, environment, told)
        assert time.monotonic() - began < SLOWEST, (words, environment)
        after = self.kept()
        assert all(after.get(path) == content for path, content in kept.items()), (words, environment)
        TALLY[words[0] if words else ""] += 1
        return code, told

    def kept(self):
        return {p: p.read_bytes() for p in (self.folder / ".presyn" / "results").glob("*.json")}


def options_of(name):
    """The options of a command, each with whether words come after it; and whether the command takes words of its own."""
    arguments = list(make_app()[name].assemble_argument_collection(parse_docstring=False))
    options = {n: a.hint is not bool for a in arguments for n in a.names if n.startswith("--")}
    return options, any(not n.startswith("-") for a in arguments for n in a.names)


BASE = {
    "run": ["--method", "sgd", "--benchmark", "split-digits"],
    "search": ["--digits", "--dry-run", "--trials", "1"],
    "table1": ["--digits", "--dry-run", "--trials", "1"],
    "ablate": ["--digits", "--dry-run", "--off", "ghost", "--trials", "1"],
    "reproduce": ["energy", "--digits", "--dry-run", "--seeds", "1"],
    "show": ["abc"],
}


def commands(home, data):
    name = data.draw(st.sampled_from([n for n in COMMANDS if n not in SERVERS]))
    options, places = options_of(name)
    words = [name, *BASE.get(name, [])]
    for option in data.draw(st.lists(st.sampled_from(sorted(options)), max_size=3)) if options else ():
        words.append(option)
        if options[option]:
            words += data.draw(st.lists(odd_words, min_size=1, max_size=2))
    if places and data.draw(st.booleans()):
        words.append(data.draw(odd_words))
    if "--wait" not in words:
        home.tries([w for w in words if "\x00" not in w or name == "run"])


VARIABLES = (
    "PRESYN_STORE",
    "PRESYN_DATA",
    "PRESYN_DEVICE",
    "PRESYN_CHECKPOINTS",
    "RAY_ADDRESS",
    "MLFLOW_TRACKING_URI",
    "MLFLOW_EXPERIMENT_NAME",
)


def variables(home, data):
    name = data.draw(st.sampled_from(VARIABLES))
    value = data.draw(odd_words.filter(lambda w: "\x00" not in w and w.isprintable()))
    words = data.draw(
        st.sampled_from(
            [
                ["run", *BASE["run"]],
                ["search", *BASE["search"]],
                ["show", "abc"],
                ["run", "--method", "sgd", "--benchmark", "split-mnist"],
            ]
        )
    )
    home.tries(words, {name: value, **({} if name == "PRESYN_DATA" else {"PRESYN_DATA": "/nowhere"})})


def fields_of_runs(home, data):
    """Every field of every method and benchmark, as a value of YAML on the command line, and from Python."""
    method = data.draw(st.sampled_from([*METHODS, *PERCEPTRONS]))
    names = [
        *method_class(method).Options.names(),
        *method_class(method).preset_names,
        *(f.name for f in fields(Benchmark)),
        "nonsense",
    ]
    name, value = data.draw(st.sampled_from(names)), data.draw(values)
    benchmark = (
        "patterns" if method in PERCEPTRONS else data.draw(st.sampled_from(["split-digits", "permuted-digits", "digits"]))
    )
    with contextlib.suppress(PresynError):
        make_run(method, benchmark, 1, {name: value})
    with contextlib.suppress(PresynError):
        make_run(data.draw(plain), data.draw(plain), data.draw(plain), data.draw(values))
    home.tries(
        ["run", "--method", method, "--benchmark", benchmark, "--set", f"{name}={yaml.safe_dump(value).split(chr(10))[0]}"]
    )
    TALLY["fields"] += 3


SPACE = {
    "method": "sgd",
    "benchmark": "permuted-digits",
    "search": {"eta0": {"low": 0.001, "high": 0.1}},
    "fixed": {"validation": 300},
    "trials": 2,
}
BENCHMARK = {"name": "mine", "dataset": "digits", "kind": "permuted", "tasks": 2, "hidden": [8], "batch_size": 20}


def yaml_files(home, data):
    """A space and a benchmark with one thing changed, and files that are none."""
    whole, read = data.draw(st.sampled_from([(SPACE, read_space), (BENCHMARK, read_benchmark)]))
    kind = data.draw(st.sampled_from(["field", "inner", "text", "bytes"]))
    changed = dict(whole)
    if kind == "field":
        changed[data.draw(st.sampled_from([*whole, "sampler", "objective", "direction", "sampler_seed", "odd"]))] = data.draw(
            values
        )
    elif kind == "inner":
        changed["search"] = {"eta0": data.draw(values)}
    path = home.folder / "odd.yaml"
    if kind == "bytes":
        path.write_bytes(data.draw(st.binary(max_size=60)))
    elif kind == "text":
        path.write_text(data.draw(st.text(max_size=60)), encoding="utf-8", errors="replace")
    else:
        path.write_text(yaml.safe_dump(changed), encoding="utf-8")
    began = time.monotonic()
    with contextlib.suppress(PresynError):
        read(str(path))
    assert time.monotonic() - began < SLOWEST, path.read_bytes()
    TALLY["yaml"] += 1


def files_of_the_store(home, data):
    """Every kind of file that is read back, damaged in any way: set aside, made again or refused, and never believed."""
    store = _copied(home)
    kinds = sorted(p for p in store.rglob("*") if p.is_file() and p.suffix in (".json", ".yaml", ".csv", ".db"))
    path = data.draw(st.sampled_from(kinds))
    content = path.read_bytes()
    how = data.draw(st.sampled_from(["cut", "noise", "empty", "value"]))
    if how == "cut":
        path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    elif how == "value" and path.suffix == ".json":
        told = json.loads(content)
        if isinstance(told, dict) and told:
            told[data.draw(st.sampled_from(sorted(told)))] = data.draw(values)
        path.write_text(json.dumps(told))
    else:
        path.write_bytes(b"" if how == "empty" else data.draw(st.binary(max_size=80)))
    _use(home, store, path)
    TALLY["store files"] += 1


def bytes_of_a_store(home, data):
    """A random change of a random byte in any file of a store and of results: rows, notes, databases, kept states, pictures."""
    store = _copied(home)
    files = sorted(p for p in store.rglob("*") if p.is_file() and p.stat().st_size)
    path = data.draw(st.sampled_from(files))
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    _use(home, store, path)
    TALLY["bytes"] += 1


def _copied(home):
    """A copy of a store and results of a small search, in a folder of its own: MLflow knows a path once in a process."""
    whole = home.folder / "whole"
    if not whole.exists():
        _make_whole(home, whole)
    for old in home.folder.glob("damaged-*"):
        shutil.rmtree(old)
    store = shutil.copytree(whole, home.folder / f"damaged-{TALLY['store files'] + TALLY['bytes']}")
    with contextlib.closing(sqlite3.connect(store / "mlflow.db")) as database:  # as of a store that was made here
        for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
            database.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (str(whole), str(store)))
        database.commit()
    return store


def _use(home, store, damaged):
    """Give commands that read a store and results; a row, a winner or a kept state that is believed is the one that was."""
    whole, results = home.folder / "whole", str(store / "out")
    space = str(home.folder / "space.yaml")
    for words in (
        ["search", "--space", space, "--results", results, "--store", str(store)],
        ["search", "--space", space, "--results", str(store / "new"), "--store", str(store), "--dry-run"],
        ["show", "a", "--store", str(store)],
        ["sync-mlflow", "--store", str(store)],
        ["import", str(store / "out" / "search" / "space" / "runs.csv"), "--store", str(store)],
    ):
        code, _ = home.tries(words)
        best = Path(results, "search", "space", "best.yaml")
        if words[0] == "search" and code == 0 and "--dry-run" not in words:
            assert best.read_bytes() == (whole / "out" / "search" / "space" / "best.yaml").read_bytes(), damaged
    for path in (whole / "results").glob("*.json"):
        row = Store(store).get(path.stem)
        told = {k: v for k, v in json.loads(path.read_text()).items() if k in ("run_id", "config", "accuracy", "status")}
        believed = None if row is None else {k: row.as_dict()[k] for k in told}
        rounded = believed and {**told, "accuracy": [[round(a, 4) for a in tested] for tested in told["accuracy"]]}
        assert believed in (None, told, rounded), damaged
    for path in (whole / "states").glob("*.pt"):
        state, original = (Store(place).session_checkpoints().kept_state(path.stem) for place in (store, whole))
        assert state is None or all(torch.equal(state[name], original[name]) for name in original), damaged


def edits_of_a_rule(home, data):
    """A random edit of a random byte of a rule's source: other code has another digest, or it is no code at all."""
    path = data.draw(st.sampled_from(RULES))
    content = bytearray(path.read_bytes())
    place, new = data.draw(st.integers(0, len(content) - 1)), data.draw(st.binary(min_size=0, max_size=2))
    content[place : place + data.draw(st.integers(0, 2))] = new
    try:
        compile(bytes(content), "rule", "exec", dont_inherit=True)
        tree = ast.parse(bytes(content))
    except (SyntaxError, ValueError):
        TALLY["edits that are no code"] += 1
        return
    was = path.read_bytes()
    same_code = _code(_without_places(tree)) == _code(_without_places(ast.parse(was)))
    assert same_code or _plain(tree) != _plain(ast.parse(was)), bytes(content[place - 40 : place + 40])
    TALLY["edits of a rule"] += 1


def _without_places(tree):
    """A tree compiled as if all of it stood in one line: from Python 3.13 on a class has its line number as a constant."""
    tree = deepcopy(tree)
    for node in ast.walk(tree):
        if hasattr(node, "lineno"):
            node.lineno = node.end_lineno = 1
            node.col_offset = node.end_col_offset = 0
    return compile(tree, "rule", "exec", dont_inherit=True, optimize=2)


def _code(compiled):
    """What compiled code does, without the places where it stands."""
    constants = tuple(_code(c) if hasattr(c, "co_code") else repr(c) for c in compiled.co_consts)
    return compiled.co_code, constants, compiled.co_names, compiled.co_varnames


def _make_whole(home, whole):
    """A store and results of a small search, as they are after it."""
    from pipeline.train import train

    (home.folder / "space.yaml").write_text(
        yaml.safe_dump({**SPACE, "fixed": {"validation": 300, "epochs": 1, "tasks": 1, "hidden": [8], "keep": True}})
    )
    before, pipeline.perform.train = (
        pipeline.perform.train,
        lambda plan, write, title, here: train(plan, write, title, True),
    )
    try:
        whole.mkdir()
        words = ["search", "--space", str(home.folder / "space.yaml"), "--results", str(whole / "out"), "--store", str(whole)]
        shutil.copy(home.folder / ".presyn" / "mlflow.db", whole)
        assert home.tries(words)[0] == 0
    finally:
        pipeline.perform.train = before


PARTS = {
    "commands": (commands, 200),
    "variables": (variables, 150),
    "fields": (fields_of_runs, 1000),
    "yaml files": (yaml_files, 2000),
    "files of the store": (files_of_the_store, 12),
    "bytes of a store": (bytes_of_a_store, 12),
    "edits of a rule": (edits_of_a_rule, 300),
}
"""What is tried, and in how many cases at a time."""


@pytest.mark.parametrize("part", PARTS)
def test_nothing_wrong_gets_in(part, home, monkeypatch):
    """Goes over generated cases: once over the same ones, or over ever new ones for its share of the time asked for."""
    case, number = PARTS[part]
    monkeypatch.setattr(pipeline.perform, "train", _no_training)
    place, until, times = Home(home), time.monotonic() + SECONDS / len(PARTS), 0
    while not times or time.monotonic() < until:

        @settings(max_examples=number, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @seed(times)
        @given(data=st.data())
        def cases(data):
            case(place, data)

        cases()
        times += 1
    print(dict(TALLY))
