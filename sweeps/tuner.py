"""Ray Tune, seen from the driver: its trials are turns of workers, as many as `Drive` wants. Imported when Ray is needed."""

from collections.abc import Callable
from typing import Any

from ray import tune
from ray.tune.search import Searcher

from presyn import PresynError
from sweeps.cluster import Cluster
from sweeps.worker import last_line, turn


def tuner_of(drive: Any, scratch: str) -> tune.Tuner:
    """The Tuner whose trials are turns. Its storage is scratch: what counts is in the checkpoints and the results."""
    trainable = tune.with_parameters(turn, driver=drive.driver, work=drive.work)
    return tune.Tuner(
        tune.with_resources(trainable, _resources(drive.cluster)),
        tune_config=tune.TuneConfig(search_alg=_Turns(drive), num_samples=-1),
        run_config=tune.RunConfig(
            name="turns",
            storage_path=scratch,
            verbose=0,
            callbacks=[_Sink(drive)],
            stop=_Over(drive),
            failure_config=tune.FailureConfig(max_failures=0),  # a new turn takes over what is left
        ),
    )


def _resources(cluster: Cluster) -> Callable[[dict[str, Any]], Any]:
    """What a turn takes, by its config."""
    cpus, share = cluster.cpus, cluster.gpu_share

    def of(config: dict[str, Any]) -> tune.PlacementGroupFactory:
        bundle = {"CPU": cpus, **({"GPU": share} if config["kind"] == "gpu" else {})}
        if not config["avoid"]:
            return tune.PlacementGroupFactory([bundle])
        avoid: Any = [{"ray.io/node-id": f"!in({config['avoid']})"}]  # Ray's own label of a node
        return tune.PlacementGroupFactory([bundle], bundle_label_selector=avoid)

    return of


class _Turns(Searcher):
    """Suggests turns while there is work that waits for a worker."""

    def __init__(self, drive: Any) -> None:
        super().__init__()
        self.drive = drive

    def __reduce__(self) -> tuple:  # Tune pickles what it was given for its restore, which is not used
        return Searcher, ()

    def suggest(self, trial_id: str) -> Any:
        config = self.drive.next_turn()
        if config is None:
            return Searcher.FINISHED if self.drive.over else None
        self.drive.started(trial_id, config["kind"])
        return config

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        pass

    def save(self, checkpoint_path: str) -> None:
        pass

    def restore(self, checkpoint_path: str) -> None:
        pass


class _Over(tune.Stopper):
    """Ends turns that wait for room when the work is over."""

    def __init__(self, drive: Any) -> None:
        self.drive = drive

    def __reduce__(self) -> tuple:
        return tune.Stopper, ()

    def __call__(self, trial_id: str, result: dict) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.drive.over and (not self.drive.running or bool(self.drive.error))


class _Sink(tune.Callback):
    """Receives what workers report."""

    def __init__(self, drive: Any) -> None:
        self.drive = drive

    def __reduce__(self) -> tuple:
        return tune.Callback, ()

    def on_step_begin(self, iteration: int, trials: list, **info: Any) -> None:
        self.drive.poll()

    def on_trial_start(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        self.drive.running.add(trial.trial_id)

    def on_trial_result(self, iteration: int, trials: list, trial: Any, result: dict, **info: Any) -> None:
        try:
            self.drive.report(result)
        except PresynError as e:  # such as a full disk; Tune would bury it in a page of traceback
            self.drive.fatal = e
            raise

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        self.drive.ended(trial.trial_id)

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        self.drive.ended(trial.trial_id, last_line(trial.get_error() or "its worker died"))
