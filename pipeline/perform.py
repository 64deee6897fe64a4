"""The one function that carries experiments out: it asks stages for runs, trains what is missing, and writes what they make."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pipeline.ask import Asked, collect, foresee, in_order, make, refuse, rounds
from pipeline.plan import Plan, console, describe
from pipeline.records.notes import Note, digest, notes
from pipeline.records.tracking import Tracking
from pipeline.stage import Made, Stage
from pipeline.train import reach, train
from pipeline.workspace import Workspace
from presyn import PresynError, choose_device
from sweeps.checkpoints import Checkpoints
from sweeps.study import store_study

WORTH_SAYING = 20  # runs that wait for MLflow


def perform(
    stages: Sequence[Stage],
    at: Workspace,
    *,
    dry_run: bool = False,
    so_far: bool = False,
    here: bool = False,
    fresh: bool = False,
) -> dict[str, Made]:
    """Carry stages out, and those that they need.

    Args:
        stages: What to carry out.
        at: Where.
        dry_run: Print the plan and stop.
        so_far: Make the stages of the rows that are in the store; nothing is trained, and MLflow waits for the whole.
        here: Train in this process, instead of on a Ray cluster.
        fresh: Train again what is in the store.

    Returns:
        Name of a stage -> what it made; of a dry run, nothing.

    Raises:
        PresynError: bad input, a run could not be trained, or rows of other runs would be lost.
    """
    order = in_order(stages)
    plan = Plan(at.store, at.cluster)
    foreseen = foresee(order, plan)
    if dry_run:
        for together in rounds(foreseen):
            _describe(together, plan, here)
        return {}
    if so_far:
        return _so_far(order, stages, plan, at)
    for asked in foreseen:
        refuse(asked, at.results)
    if fresh:
        _set_aside(foreseen, plan, at)
    return _Performance(order, plan, at, here).run()


def _describe(together: Sequence[Asked], plan: Plan, here: bool) -> str:
    """Print the plan of stages that train together, on the cluster if there is one; returns its title."""
    asking = [a for a in together if a.wishes and a.stage.title]
    if not asking:
        return ""
    searches = all(a.stage.experiment == "search" for a in asking)
    title = asking[0].stage.title if len(asking) == 1 else f"{len(asking)} {'searches' if searches else 'stages'}"
    uncertain = "" if all(a.certain for a in asking) else " (with a stand-in for what is not searched yet)"
    part = plan.part(i for a in asking for i in a.ids)
    if not here:
        reach(part)
    describe(part, title + uncertain)
    return title


def _set_aside(foreseen: Sequence[Asked], plan: Plan, at: Workspace) -> None:
    """Make runs count as not trained; now, so that the same command without fresh goes on where this one was stopped."""
    choose_device(at.cluster.device)  # what cannot be trained here is not set aside
    ids = {i for asked in foreseen for i in asked.ids}
    for run_id in ids:
        plan.rows.pop(run_id, None)
        at.store.set_aside(run_id)
    Checkpoints(at.store.checkpoints, "").remove(*ids)


def _so_far(order: Sequence[Stage], wanted: Sequence[Stage], plan: Plan, at: Workspace) -> dict[str, Made]:
    """Stages made of what is there, with values of before where stages that they need are not complete."""
    values: dict[str, Any] = {}
    made: dict[str, Made] = {}
    for stage in order:
        asked = collect(stage, {need.name: values[need.name] for need in stage.needs}, plan)
        there = Asked(stage, [(w, i) for w, i in asked.wishes if i in plan.rows], asked.complete)
        if stage not in wanted:
            values[stage.name] = make(asked, values, plan, None)[0].value if asked.complete else stage.recall(at.results)
            continue
        if asked.wishes and not there.wishes:
            raise PresynError(
                f"None of the runs of {stage.title} is in the store {at.store.root} yet: train them without --so-far, or name "
                "another store with --store."
            )
        refuse(there, at.results)
        made[stage.name], _ = make(there, values, plan, at.results)
        values[stage.name] = made[stage.name].value
    return made


class _Performance:
    """Stages on their way: what is ready is asked, trained together, and made."""

    def __init__(self, order: Sequence[Stage], plan: Plan, at: Workspace, here: bool) -> None:
        self.order, self.plan, self.at, self.here = order, plan, at, here
        self.made: dict[str, Made] = {}
        self.notes: dict[str, Note] = {}
        self.tracking: Tracking | None = None

    def run(self) -> dict[str, Made]:
        try:
            made = self._run()
        except KeyboardInterrupt:
            raise  # what waits for MLflow is written by the next command
        except BaseException:
            self._close()
            raise
        self._close()
        return made

    def _close(self) -> None:
        """Wait until MLflow has what was trained, unless its server is away."""
        if self.tracking is not None:
            if self.tracking.waiting > WORTH_SAYING:
                console.print(f"writing {self.tracking.waiting} runs to MLflow …", highlight=False)
            self.tracking.close()

    def _run(self) -> dict[str, Made]:
        while len(self.made) < len(self.order):
            ready = [s for s in self.order if s.name not in self.made and all(n.name in self.made for n in s.needs)]
            together = [collect(stage, self._values(stage), self.plan) for stage in ready]
            title = _describe([a for a in together if a.stage.name not in self.notes], self.plan, self.here)
            for asked in together:
                self._note(asked)
            done = [a for a in together if a.complete]  # these do not wait for others that ask again
            part = self.plan.part(i for a in done or together for i in a.ids)
            asking = ", ".join(a.stage.title for a in together if a.stage.title)
            with self._failing(done or together):
                train(part, self._tracker(), title or asking or "runs", self.here)
            self.plan.rows.update(part.rows)
            for asked in done:
                with self._failing([asked]):
                    self._finish(asked)
        return self.made

    @contextmanager
    def _failing(self, asked: Sequence[Asked]) -> Iterator[None]:
        """If nothing comes of stages, let their parents in MLflow end as failed, and say why there."""
        try:
            yield
        except PresynError as e:
            for note in (self.notes[a.stage.name] for a in asked if a.stage.name in self.notes and a.stage.title):
                note.failed = str(e)
                note.save(self.at.store)
                self._tracker().finish(note)
            raise

    def _values(self, stage: Stage) -> dict[str, Any]:
        return {need.name: self.made[need.name].value for need in stage.needs}

    def _tracker(self) -> Tracking:
        if self.tracking is None:
            self.tracking = Tracking(self.at.uri, self.at.store, self.at.prefix)
        for note in self.notes.values():
            self.tracking.follow(note)
        return self.tracking

    def _note(self, asked: Asked) -> None:
        """Say in the store what the runs of a stage belong to, before they are trained."""
        stage, ids = asked.stage, asked.ids
        if not ids:
            return
        identity = f"{stage.identity}/{digest(ids)}" if stage.title else stage.identity
        note = self.notes.setdefault(stage.name, Note(stage.experiment, identity, stage.title))
        if not stage.title:  # loose runs gather in one note
            ids = sorted({*ids, *(i for n in notes(self.at.store) if n.identity == identity for i in n.run_ids)})
        note.run_ids = ids
        note.labels |= asked.labels()
        note.command, note.folder = self.at.command, str(stage.folder(self.at.results).absolute())
        note.save(self.at.store)

    def _finish(self, asked: Asked) -> None:
        """Make, write and log what a stage comes to."""
        stage = asked.stage
        made, files = make(asked, self._values(stage), self.plan, self.at.results)
        self.made[stage.name] = made
        if made.study is not None:
            store_study(made.study, self.at.store.root / "optuna.db")
        if stage.name not in self.notes:  # it has no runs of its own, so its table says what it is
            text = made.files[made.table].to_csv() if made.table else stage.name
            self.notes[stage.name] = Note(stage.experiment, f"{stage.identity}/{digest([text])}", stage.title)
        note = self.notes[stage.name]
        if stage.title:
            note.params, note.metrics = dict(made.params), dict(made.metrics)
            note.command, note.folder = self.at.command, str(stage.folder(self.at.results).absolute())
            note.files = [str(f.absolute()) for f in files]
            note.table = str((stage.folder(self.at.results) / made.table).absolute()) if made.table else None
            note.save(self.at.store)
            self._tracker().finish(note)
        if made.words:
            console.print(made.words, highlight=False)
