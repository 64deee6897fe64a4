"""A random change of a random byte in a file under results/ turns no verdict in silence.

What the verdicts are made of is refused, is read as before, or is said; tables, figures and the page that are not what the rows
make are named by `verify`. PRESYN_DAMAGES says how often each file is damaged; without it 30 files are drawn.
"""

import os
import random
import re
import shutil
import sys
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

import pipeline.experiments.verdicts.stage as verdicts_stage
from pipeline.experiments.catalogue import CLAIMING, report
from pipeline.experiments.report.stage import stale_among
from pipeline.experiments.table1.stage import tuned_winners
from pipeline.experiments.verdicts.stage import all_verdicts
from pipeline.paper.published import READERS, changed_files
from pipeline.records.csvs import read_file
from pipeline.records.results import Results
from pipeline.report.verdicts import verdict_table
from pipeline.stage import Known
from presyn import PresynError

RESULTS = Path(__file__).parents[2] / "results"
DAMAGES = int(os.environ.get("PRESYN_DAMAGES", 0))
SEED = int(os.environ.get("PRESYN_DAMAGE_SEED", 0))
opened: set[str] = set()
_recording: list[bool] = []


def _record(event, arguments):
    if event == "open" and _recording and isinstance(arguments[0], str):
        opened.add(str(Path(arguments[0]).absolute()))


sys.addaudithook(_record)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A copy of all results."""
    return Path(shutil.copytree(RESULTS, tmp_path_factory.mktemp("damaged") / "results"))


@pytest.fixture
def at(results, monkeypatch):
    """As whoever works where the copy is sees it."""
    monkeypatch.chdir(results.parent)
    monkeypatch.setattr(verdicts_stage, "PAPER", results / "paper")
    return results


def table(folder):
    """All verdicts of the rows under a folder, as text."""
    return verdict_table(all_verdicts(Results(folder), CLAIMING).verdicts).to_csv()


@pytest.fixture(scope="module")
def inputs(results):
    """The files that verdicts are made of, by what is opened, and what the verdicts are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(results.parent)
        patch.setattr(verdicts_stage, "PAPER", results / "paper")
        for read in READERS:
            if hasattr(read, "cache_clear"):
                read.cache_clear()
        _recording.append(True)
        expected = table(results)
        _recording.clear()
    return {path for path in results.rglob("*") if str(path) in opened}, expected


def rows_as_text(path):
    """What is read of a file of rows, as text."""
    return read_file(path).cells.to_csv(index=False)


def outcome(path, folder, before, expected):
    """What comes of a damaged file that verdicts are made of, in a word; a silent change fails.

    Args:
        path: The file.
        folder: Of the results.
        before: What was read of it, where that is known.
        expected: The verdicts as they were.
    """
    try:
        if path.parent.name == "paper":
            if changed_files(path.parent) == [path.name]:
                return "said by verify"
        elif path.name == "best.yaml":
            tuned_winners(folder)
        elif path.suffix == ".csv" and rows_as_text(path) == before:
            return "read as before"
        return "the same verdicts" if table(folder) == expected else "other verdicts"
    except PresynError as e:
        assert "\n" not in str(e)
        return "refused"


def test_every_changed_digit_of_a_result_is_refused(results):
    """The first digit after a point, which turns a result the most: 40 lines, each refused by its checks or its digest."""
    names = Results(results).paths()
    rng = random.Random(SEED)
    for i in range(40):
        path = names[i % len(names)]
        content = path.read_bytes()
        place = rng.choice([match.end() for match in re.finditer(rb"\d\.(?=\d)", content)])
        digit = rng.choice([d for d in b"0123456789" if d != content[place]])
        path.write_bytes(content[:place] + bytes([digit]) + content[place + 1 :])
        try:
            with pytest.raises(PresynError, match=r", line \d+ is not a run that presyn wrote"):
                read_file(path)
        finally:
            path.write_bytes(content)


def damages(paths, rng):
    """Files to damage: each so often as is asked for, or some."""
    return [path for path in paths for _ in range(DAMAGES)] or rng.choices(paths, k=30)


def flip(content, rng):
    """The content with one bit of one byte flipped."""
    place = rng.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 1 << rng.randrange(8)]) + content[place + 1 :]


def test_no_damaged_bit_of_what_verdicts_are_made_of_turns_one_in_silence(at, inputs):
    (paths, expected), rng, tally = inputs, random.Random(SEED), Counter()
    files = sorted(path for path in paths if at in path.parents)
    assert {"runs.csv", "claims.yaml", "best.yaml"} <= {path.name for path in files}
    before = {path: rows_as_text(path) for path in files if path.suffix == ".csv" and path.parent.name != "paper"}
    silent = []
    for number, path in enumerate(damages(files, rng), start=1):
        content = path.read_bytes()
        path.write_bytes(flip(content, rng))
        try:
            came_to = outcome(path, at, before.get(path), expected)
        finally:
            damaged = path.read_bytes()
            path.write_bytes(content)
        tally[path.suffix, came_to] += 1
        if came_to == "other verdicts":
            silent.append((path.relative_to(at), next(i for i, byte in enumerate(content) if byte != damaged[i])))
        if DAMAGES and number % DAMAGES == 0:
            print(path.relative_to(at), dict(tally), silent, flush=True)
    print(len(files), "files", dict(tally))
    assert not silent


@pytest.mark.skipif(not DAMAGES, reason="makes all tables and figures; test_report.py has a case of each kind")
def test_no_damaged_bit_of_what_rows_make_is_overlooked(at, inputs):
    """Tables, figures and pages decide nothing, and are named; all others neither decide nor are made of rows."""
    (paths, _), rng = inputs, random.Random(SEED)
    found = all_verdicts(Results(at), CLAIMING)
    made = report().make(pd.DataFrame(), Known(values={"verify": found}, results=Results(at))).files
    compared = {Path(os.path.normpath(at / "report" / name)) for name in made}
    files = sorted(path for path in at.rglob("*") if path.is_file() and path not in paths and path.stat().st_size)
    contents = {path: path.read_bytes() for path in files}
    assert not any(stale_among(made, at / "report"))
    for _ in range(DAMAGES):
        for path, content in contents.items():
            path.write_bytes(flip(content, rng))
        changed, outdated = stale_among(made, at / "report")
        overlooked = {path for path in files if path in compared and path.suffix != ".png"} - {*changed, *outdated}
        assert not overlooked
        for path, content in contents.items():
            path.write_bytes(content)
    others = [path.relative_to(at).as_posix() for path in files if path not in compared]
    print(len(files), "files,", len(compared), "compared; neither decided by nor made:", others)
    assert not [name for name in others if Path(name).name in ("table.csv", "index.html", "runs.html")]
