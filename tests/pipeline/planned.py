"""Print what all experiments ask for first, as JSON: stage -> number of runs and a digest of them. Needs no data.

Tests run it in a clone, in what a wheel holds and in what the image holds: python planned.py
"""

import hashlib
import json
from pathlib import Path

from pipeline.ask import in_order
from pipeline.experiments.catalogue import EXPERIMENTS, Choice, chosen_stages
from pipeline.stage import Known

values, planned = {}, {}
for stage in in_order(chosen_stages(list(EXPERIMENTS), Choice(Path("results")))):
    if stage.reads_results:  # made of the rows of others
        continue
    known = Known((), {need.name: values[need.name] for need in stage.needs})
    wishes = stage.ask(known)
    values[stage.name] = stage.stand_in(known)
    runs = sorted(json.dumps([w.run.config(), w.labels], sort_keys=True, default=str) for w in wishes)
    planned[stage.name] = [len(runs), hashlib.sha256("\n".join(runs).encode()).hexdigest()[:12]]
print(json.dumps(planned))
