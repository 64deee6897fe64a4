"""Ray Tune, seen from the driver: its trials are turns of workers, as many as `Drive` wants."""

from collections.abc import Callable
from typing import Any

from presyn import PresynError
from sweeps.cluster import Cluster
from sweeps.turn import turn


def last_line(e: BaseException | str) -> str:
    """The last line of an error's words, or its kind if it has none."""
    lines = [line.strip() for line in str(e).splitlines() if line.strip()]
    return lines[-1] if lines else type(e).__name__


def resources(cluster: Cluster) -> Callable[[dict[str, Any]], Any]:
    """What a turn takes, by its config."""
    cpus, share = cluster.cpus, cluster.gpu_share

    def of(config: dict[str, Any]) -> Any:
        from ray.tune import PlacementGroupFactory

        bundle = {"CPU": cpus, **({"GPU": share} if config["kind"] == "gpu" else {})}
        # Nodes that cannot train are left out by Ray's own label of a node.
        avoid: dict[str, Any] = {"bundle_label_selector": [{"ray.io/node-id": f"!in({config['avoid']})"}]} if config["avoid"] else {}
        return PlacementGroupFactory([bundle], **avoid)

    return of


def tuner_of(drive: Any, scratch: str) -> Any:
    """The Tuner whose trials are turns. Its storage is scratch: what counts is in the checkpoints and the results."""
    from ray import tune
    from ray.tune.search import Searcher

    class Turns(Searcher):
        def __reduce__(self) -> tuple:  # Tune pickles what it was given for its restore, which is not used
            return Searcher, ()

        def suggest(self, trial_id: str) -> Any:
            config = drive.next_turn()
            if config is None:
                return Searcher.FINISHED if drive.over else None
            drive.started(trial_id, config["kind"])
            return config

        def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
            pass

        def save(self, checkpoint_path: str) -> None:
            pass

        def restore(self, checkpoint_path: str) -> None:
            pass

    class Over(tune.Stopper):
        def __reduce__(self) -> tuple:
            return tune.Stopper, ()

        def __call__(self, trial_id: str, result: dict) -> bool:
            return False

        def stop_all(self) -> bool:  # turns that wait for room end with the work
            return drive.over and (not drive.running or bool(drive.error))

    class Sink(tune.Callback):
        def __reduce__(self) -> tuple:
            return tune.Callback, ()

        def on_step_begin(self, iteration: int, trials: list, **info: Any) -> None:
            drive.poll()

        def on_trial_start(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
            drive.running.add(trial.trial_id)

        def on_trial_result(self, iteration: int, trials: list, trial: Any, result: dict, **info: Any) -> None:
            try:
                drive.report(result)
            except PresynError as e:  # such as a full disk; Tune would bury it in a page of traceback
                drive.fatal = e
                raise

        def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
            drive.ended(trial.trial_id)

        def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
            drive.ended(trial.trial_id, last_line(trial.get_error() or "its worker died"))

    return tune.Tuner(
        tune.with_resources(tune.with_parameters(turn, driver=drive.driver, work=drive.work), resources(drive.cluster)),
        tune_config=tune.TuneConfig(search_alg=Turns(), num_samples=-1),
        run_config=tune.RunConfig(
            name="turns",
            storage_path=scratch,
            verbose=0,
            callbacks=[Sink()],
            stop=Over(),
            failure_config=tune.FailureConfig(max_failures=0),  # a new turn takes over what is left
        ),
    )
