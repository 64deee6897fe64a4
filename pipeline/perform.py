"""The one function that carries experiments out: it asks stages for runs, trains what is missing, and writes what they make."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from pipeline.ask import Asked, collect, foresee, in_order, make, refuse, rounds
from pipeline.plan import Plan, console, describe, describe_to_come
from pipeline.records.files import lock_folder
from pipeline.records.mlflow.background import BackgroundWriter
from pipeline.records.mlflow.notes import Note, digest_words, note_identity, read_notes
from pipeline.records.results import Results
from pipeline.stage import Known, Made, Stage
from pipeline.train import reach, train
from pipeline.workspace import Workspace
from presyn import PresynError
from sweeps.study import store_study

STOP_SECONDS = 2.0
"""How long an interrupted command waits for a row that is just being written to MLflow."""
MANY_WAITING = 20
"""Runs that wait for MLflow at the end of a command, from which on that is worth a line."""


def perform(
    stages: Sequence[Stage],
    workspace: Workspace,
    *,
    dry_run: bool = False,
    so_far: bool = False,
    here: bool = False,
    fresh: bool = False,
    show: Callable[[Stage, Made], None] = lambda stage, made: None,
) -> dict[str, Made]:
    """Carry stages out, and those that they need.

    Args:
        stages: What to carry out.
        workspace: Where.
        dry_run: Print the plan and stop.
        so_far: Make the stages of the rows that are in the store; nothing is trained, and MLflow waits for the whole.
        here: Train in this process, instead of on a Ray cluster.
        fresh: Train again what is in the store.
        show: Called with each of these stages and what it made, when all are made and before MLflow is waited for.

    Returns:
        Name of a stage -> what it made; of a dry run, nothing.

    Raises:
        PresynError: bad input, a run could not be trained, or rows of other runs would be lost.
    """
    if so_far and fresh:
        raise PresynError("--so-far trains nothing, and --fresh trains all of it again: choose one of them.")
    if so_far and dry_run:
        raise PresynError("--so-far trains nothing, so there is no plan of it: leave --dry-run out.")
    order = in_order(stages)
    files = [stage.file(workspace.results) for stage in order]
    # Stages without a title have nothing of their own in the folder of results.
    locked = lock_folder(workspace.results, files) if any(s.title for s in order) or any(files) else nullcontext()
    if so_far and not dry_run:
        with locked:
            made = _make_so_far(order, stages, workspace)
            _show(stages, made, show)
            return made
    plan = Plan(workspace.store, workspace.cluster)
    foreseen = foresee(order, plan, Results(workspace.results))
    if dry_run:
        if fresh:
            plan.rows.clear()
            plan.fresh = True
        for stage in order:
            stage.refuse(workspace.results)  # a plan drops no rows, but a damaged file is said now
        for together in rounds(foreseen):
            _describe(together, plan, here, loose=True)
        return {}
    with locked:
        for asked in foreseen:
            refuse(asked, workspace.results)
        if fresh:
            _set_aside(foreseen, plan, workspace)
        return _Performance(order, plan, workspace, here, lambda made: _show(stages, made, show)).run()


def _show(stages: Sequence[Stage], made: dict[str, Made], show: Callable[[Stage, Made], None]) -> None:
    for stage in stages:
        if stage.name in made:
            show(stage, made[stage.name])


def _describe(together: Sequence[Asked], plan: Plan, here: bool, loose: bool = False) -> str:
    """Print the plan of stages that train together, on the cluster if there is one, and of loose runs if asked; its title."""
    asking = [a for a in together if a.wishes and (a.stage.title or loose)]
    if not asking:
        return ""
    searches = all(a.stage.mlflow_experiment == "search" for a in asking)
    title = (
        asking[0].stage.title or asking[0].stage.name
        if len(asking) == 1
        else f"{len(asking)} {'searches' if searches else 'stages'}"
    )
    uncertain = "" if all(a.certain for a in asking) else " (with a stand-in for what is not searched yet)"
    needed = plan.restricted(run_id for a in asking for run_id in a.ids)
    if not here:
        reach(needed)
    describe(needed, title + uncertain, here)
    for line in dict.fromkeys(line for asked in asking for line in asked.stage.leaves_out()):
        console.print(f"  without {line}", highlight=False, soft_wrap=True)
    if to_come := [(wish.run, wish.goes_on_from) for a in asking for wish in a.to_come]:
        describe_to_come(plan, to_come)
    return title


def _say_what_was_trained(together: Sequence[Asked], trained: set[str], asked_for: set[str]) -> None:
    """Say how many loose runs were read and how many trained; other stages have a plan that says it before."""
    if any(asked.stage.title for asked in together) or not asked_for:
        return
    console.print(f"{len(asked_for - trained)} read from the store, {len(trained)} trained", highlight=False)


def _set_aside(foreseen: Sequence[Asked], plan: Plan, workspace: Workspace) -> None:
    """Make runs count as not trained, before any is: the same command without fresh then goes on where this one stopped."""
    plan.device()  # what cannot be trained here is not set aside
    ids = {run_id for asked in foreseen for run_id in asked.ids}
    for run_id in ids:
        plan.rows.pop(run_id, None)
        workspace.store.set_aside(run_id)
    workspace.store.session_checkpoints().remove(*ids)


def _make_so_far(order: Sequence[Stage], wanted: Sequence[Stage], workspace: Workspace) -> dict[str, Made]:
    """Make stages from the rows in the store; a needed stage without all its rows has the value that it made before."""
    values: dict[str, Any] = {}
    absent: set[str] = set()  # stages whose value is not there
    made: dict[str, Made] = {}
    lacking: list[str] = []
    for stage in order:
        # Each has a plan of its own: what another stage wants measured besides is not needed here.
        plan = Plan(workspace.store, workspace.cluster)
        asked = collect(stage, {need.name: values[need.name] for need in stage.needs}, plan)
        if stage not in wanted:
            complete = asked.complete
            values[stage.name] = make(asked, values, plan, None)[0].value if complete else stage.recall(workspace.results)
            if not complete and values[stage.name] is None:
                absent.add(stage.name)
            continue
        finished = Asked(stage, [(w, i) for w, i in asked.wishes if i in plan.rows], asked.first, asked.complete)
        waits = any(need.name in absent for need in stage.needs)
        if not finished.wishes and (asked.wishes or waits) and not stage.made_of_others:
            lacking.append(stage.title)
            values[stage.name] = stage.recall(workspace.results)
            if values[stage.name] is None:
                absent.add(stage.name)
            continue
        refuse(finished, workspace.results, as_whole=asked.complete)
        made[stage.name], _ = make(finished, values, plan, workspace.results)
        values[stage.name] = made[stage.name].value
        if made[stage.name].message:
            console.print(made[stage.name].message, highlight=False)
    if lacking and not made:
        raise PresynError(
            f"None of the runs of {lacking[0]} is in the store {workspace.store.root} yet: train them without --so-far, "
            "or name another store with --store."
        )
    return made


class _Performance:
    """Carries out stages: asks those whose needed stages are made, trains all their runs together, and makes them."""

    def __init__(
        self, order: Sequence[Stage], plan: Plan, workspace: Workspace, here: bool, show: Callable[[dict[str, Made]], None]
    ) -> None:
        self.order, self.plan, self.workspace, self.here, self.show = order, plan, workspace, here, show
        self.made: dict[str, Made] = {}
        self.notes: dict[str, Note] = {}
        self.mlflow: BackgroundWriter | None = None

    def run(self) -> dict[str, Made]:
        try:
            self._carry_out()
            self.show(self.made)
        except KeyboardInterrupt:
            if self.mlflow is not None:
                self.mlflow.stop(STOP_SECONDS)
            raise
        except BaseException:
            self._close()
            raise
        self._close()
        return self.made

    def _close(self) -> None:
        """Wait until MLflow has what was trained, unless its server is away."""
        if self.mlflow is not None:
            if self.mlflow.waiting > MANY_WAITING:
                console.print(f"writing {self.mlflow.waiting} runs to MLflow …", highlight=False)
            self.mlflow.close()

    def _carry_out(self) -> None:
        reported = set[str]()
        while len(self.made) < len(self.order):
            ready = [s for s in self.order if s.name not in self.made and all(n.name in self.made for n in s.needs)]
            if not all(s.reads_results for s in ready):  # these wait for all others
                ready = [s for s in ready if not s.reads_results]
            results = Results(self.workspace.results)
            together = [collect(stage, self._needed_values(stage), self.plan, results) for stage in ready]
            title = _describe([a for a in together if a.stage.name not in self.notes], self.plan, self.here)
            for asked in together:
                self._note(asked)
                self._say_steps(asked)
            complete = [a for a in together if a.complete]  # these do not wait for others that ask again
            needed = self.plan.restricted(run_id for a in complete or together for run_id in a.ids)
            asking = ", ".join(a.stage.title for a in together if a.stage.title)
            trained = set(needed.missing)
            with self._failing(complete or together):
                train(needed, self._writer().write, title or asking or "runs", self.here)
            _say_what_was_trained(together, trained, needed.runs.keys() - reported)
            reported |= needed.runs.keys()
            self.plan.rows.update(needed.rows)
            for asked in complete:
                with self._failing([asked]):
                    self._finish(asked)

    def _say_steps(self, asked: Asked) -> None:
        """Say how a stage that asks again has come on, and note it for MLflow."""
        known = Known(asked.rows(self.plan), self._needed_values(asked.stage))
        steps = asked.stage.steps(known, self.plan.steps)
        if asked.stage.name not in self.notes:
            return
        note = self.notes[asked.stage.name]
        for step in steps[len(note.steps) :]:
            console.print(step.message, highlight=False)
        note.steps = [{"message": step.message, **step.metrics} for step in steps]
        note.save(self.workspace.store)

    @contextmanager
    def _failing(self, asked: Sequence[Asked]) -> Iterator[None]:
        """If nothing comes of stages, let their parents in MLflow end as failed, and say why there."""
        try:
            yield
        except PresynError as e:
            for note in (self.notes[a.stage.name] for a in asked if a.stage.name in self.notes and a.stage.title):
                note.failed = str(e)
                note.save(self.workspace.store)
                self._writer().finish(note)
            raise

    def _needed_values(self, stage: Stage) -> dict[str, Any]:
        return {need.name: self.made[need.name].value for need in stage.needs}

    def _writer(self) -> BackgroundWriter:
        if self.mlflow is None:
            self.mlflow = BackgroundWriter(self.workspace.uri, self.workspace.store, self.workspace.prefix)
        for note in self.notes.values():
            self.mlflow.follow(note)
        return self.mlflow

    def _note(self, asked: Asked) -> None:
        """Say in the store what the runs of a stage belong to, before they are trained."""
        stage, ids, store = asked.stage, asked.ids, self.workspace.store
        if not ids:
            return
        identity = stage.identity
        if stage.title and stage.name not in self.notes:
            identity = note_identity(stage.mlflow_experiment, stage.identity, asked.first, read_notes(store))
        note = self.notes.setdefault(stage.name, self._new_note(stage, identity))
        if not stage.title:  # loose runs gather in one note
            ids = sorted({*ids, *(i for other in read_notes(store) if other.identity == identity for i in other.run_ids)})
        note.run_ids = ids
        note.labels |= asked.labels()
        note.segments |= {i: self.plan.schedule(self.plan.runs[i]).segments for i in asked.ids if i not in self.plan.rows}
        self._say_where(note, stage)
        note.save(store)

    def _new_note(self, stage: Stage, identity: str) -> Note:
        columns = [column for column in stage.columns if column != "run_id"]
        return Note(
            stage.mlflow_experiment, identity, stage.mlflow_name, about=stage.about, columns=columns,
            searched=list(stage.searched), objective=stage.objective, minimize=stage.minimize,
        )  # fmt: skip

    def _say_where(self, note: Note, stage: Stage) -> None:
        note.command, note.folder = self.workspace.command, str(stage.folder(self.workspace.results).absolute())

    def _finish(self, asked: Asked) -> None:
        """Make, write and log what a stage comes to."""
        stage, workspace = asked.stage, self.workspace
        refuse(asked, workspace.results)  # once more: another command may have written there meanwhile
        self._say_steps(asked)
        made, files = make(asked, self._needed_values(stage), self.plan, workspace.results)
        self.made[stage.name] = made
        if made.study is not None:
            _keep_study(made.study, workspace)
        if stage.name not in self.notes:  # it has no runs, so its table says what it is
            text = made.files[made.table].to_csv() if made.table else stage.name
            identity = f"{stage.identity}/{digest_words([text])}"
            self.notes[stage.name] = self._new_note(stage, identity)
        note = self.notes[stage.name]
        if stage.title:
            note.params, note.metrics, note.winner = dict(made.params), dict(made.metrics), made.winner
            self._say_where(note, stage)
            note.files = [str(file.absolute()) for file in files]
            note.table = str((stage.folder(workspace.results) / made.table).absolute()) if made.table else None
            note.save(workspace.store)
            self._writer().finish(note)
        if made.message:
            console.print(made.message, highlight=False)
        if asked.paused:
            checkpoints = workspace.store.session_checkpoints()
            checkpoints.remove(*asked.paused)
            checkpoints.close()


def _keep_study(study: Any, workspace: Workspace) -> None:
    """Put a study into the store's optuna.db. It can be made again from rows, so an error here is said and ends nothing."""
    path = workspace.store.root / "optuna.db"
    try:
        store_study(study, path)
    except Exception as e:  # whatever Optuna or its database raises: locked by a dashboard, of another version
        lines = [line.strip() for line in str(e).splitlines() if line.strip()]
        why = lines[0][:200] if lines else type(e).__name__
        print(f"presyn: {path} is not written ({why}). The same command writes it later; nothing else waits.", file=sys.stderr)
