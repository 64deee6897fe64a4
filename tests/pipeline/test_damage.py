"""A random change of a random byte in a file of rows turns no verdict in silence.

PRESYN_DAMAGES says how many changes are tried (default 8).
"""

import os
import random
import re
import shutil
from pathlib import Path

import pytest

from pipeline.experiments.catalogue import CLAIMING
from pipeline.experiments.verdicts.stage import all_verdicts
from pipeline.records.results import Results
from pipeline.report.verdicts import verdict_table
from presyn import PresynError

RESULTS = Path(__file__).parents[2] / "results"
DAMAGES = int(os.environ.get("PRESYN_DAMAGES", 8))


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    """A copy of all files of rows, and their names."""
    folder = tmp_path_factory.mktemp("damaged") / "results"
    names = [path.relative_to(RESULTS) for path in Results(RESULTS).paths()]
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(RESULTS / name, folder / name)
    return folder, names


def table(folder):
    """All verdicts of the rows under a folder, as text."""
    return verdict_table(all_verdicts(Results(folder), CLAIMING).verdicts).to_csv()


def damaged(content, rng):
    """The bytes with one of them changed: any bit, or the first digit after a point, which turns a result the most."""
    changed = bytearray(content)
    if rng.random() < 0.5:
        place = rng.randrange(len(changed))
        changed[place] ^= 1 << rng.randrange(8)
    else:
        digits = [match.end() for match in re.finditer(rb"\d\.(?=\d)", content)]
        place = rng.choice(digits)
        changed[place] = rng.choice([d for d in b"0123456789" if d != content[place]])
    return bytes(changed), place


def test_no_damaged_byte_turns_a_verdict_in_silence(copied):
    folder, names = copied
    expected = table(folder)
    rng = random.Random(int(os.environ.get("PRESYN_DAMAGE_SEED", 0)))
    silent = []
    for i in range(DAMAGES):
        name = rng.choice(names) if len(names) > DAMAGES else names[i % len(names)]
        content = (folder / name).read_bytes()
        changed, place = damaged(content, rng)
        (folder / name).write_bytes(changed)
        try:
            if table(folder) != expected:
                silent.append((name, place, content[place - 30 : place + 30]))
        except PresynError as e:
            assert "\n" not in str(e)
        finally:
            (folder / name).write_bytes(content)
    assert not silent
