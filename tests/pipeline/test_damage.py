"""A random change of a random byte in a file of rows turns no verdict in silence.

PRESYN_DAMAGES says how many flipped bits are tried (default 8).
"""

import os
import random
import re
import shutil
from pathlib import Path

import pytest

from pipeline.experiments.catalogue import CLAIMING
from pipeline.experiments.verdicts.stage import all_verdicts
from pipeline.records.csvs import read_file
from pipeline.records.results import Results
from pipeline.report.verdicts import verdict_table
from presyn import PresynError

RESULTS = Path(__file__).parents[2] / "results"
DAMAGES = int(os.environ.get("PRESYN_DAMAGES", 8))
SEED = int(os.environ.get("PRESYN_DAMAGE_SEED", 0))


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


def test_every_changed_digit_of_a_result_is_refused(copied):
    """The first digit after a point, which turns a result the most: 40 lines, each refused by its checks or its digest."""
    folder, names = copied
    rng = random.Random(SEED)
    for i in range(40):
        path = folder / names[i % len(names)]
        content = path.read_bytes()
        place = rng.choice([match.end() for match in re.finditer(rb"\d\.(?=\d)", content)])
        digit = rng.choice([d for d in b"0123456789" if d != content[place]])
        path.write_bytes(content[:place] + bytes([digit]) + content[place + 1 :])
        try:
            with pytest.raises(PresynError, match=r", line \d+ is not a run that presyn wrote"):
                read_file(path)
        finally:
            path.write_bytes(content)


def test_no_damaged_bit_turns_a_verdict_in_silence(copied):
    folder, names = copied
    expected = table(folder)
    rng = random.Random(SEED)
    silent = []
    for _ in range(DAMAGES):
        path = folder / rng.choice(names)
        content = path.read_bytes()
        place = rng.randrange(len(content))
        flipped = content[place] ^ 1 << rng.randrange(8)
        path.write_bytes(content[:place] + bytes([flipped]) + content[place + 1 :])
        try:
            if table(folder) != expected:
                silent.append((path.name, place, content[place - 30 : place + 30]))
        except PresynError as e:
            assert "\n" not in str(e)
        finally:
            path.write_bytes(content)
    assert not silent
