"""Ablations (Fig. 5a) and departures: the same rule with a part of it off or otherwise, side by side.

`variants` says what is switched off, `stage` trains it with parameters that are searched again or published, `table` makes the
table of rows, `claims` tests A1 to A5, L28 and L31 on them.
"""
