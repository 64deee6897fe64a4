"""What the tests of sweeps share."""

import pytest
from sessions import SETTINGS

from presyn import make_run


@pytest.fixture
def runs():
    return {f"id{s}": make_run("presynaptic", "permuted-digits", s, SETTINGS) for s in range(3)}
