"""Ray Tune, seen from the driver: its trials are workers, as many as the `Driver` wants. Imported when Ray is needed."""

from collections.abc import Callable
from typing import Any

from ray import tune
from ray.tune.search import Searcher

from sweeps.cluster import Cluster
from sweeps.driver import Driver
from sweeps.worker import last_line, run_worker


def make_tuner(driver: Driver, scratch: str) -> tune.Tuner:
    """The Tuner whose trials are workers. Its storage is scratch: what counts is in the checkpoints and the results."""
    trainable = tune.with_parameters(run_worker, setup=driver.setup, work=driver.work)
    return tune.Tuner(
        tune.with_resources(trainable, _choose_resources(driver.cluster)),
        tune_config=tune.TuneConfig(search_alg=_Workers(driver), num_samples=-1),
        run_config=tune.RunConfig(
            name="workers",
            storage_path=scratch,
            verbose=0,
            callbacks=[_Listener(driver)],
            stop=_Stopper(driver),
            failure_config=tune.FailureConfig(max_failures=0),  # a new worker takes over what is left
        ),
    )


def _choose_resources(cluster: Cluster) -> Callable[[dict[str, Any]], Any]:
    """A function that gives what a worker takes, by its config."""
    cpus, share = cluster.cpus, cluster.gpu_share

    def choose(config: dict[str, Any]) -> tune.PlacementGroupFactory:
        bundle = {"CPU": cpus, **({"GPU": share} if config["kind"] == "gpu" else {})}
        if not config["avoid"]:
            return tune.PlacementGroupFactory([bundle])
        avoid: Any = [{"ray.io/node-id": f"!in({config['avoid']})"}]  # Ray's own label of a node
        return tune.PlacementGroupFactory([bundle], bundle_label_selector=avoid)

    return choose


class _Workers(Searcher):
    """Suggests workers while there is work that waits for one."""

    def __init__(self, driver: Driver) -> None:
        super().__init__()
        self.driver = driver

    def __reduce__(self) -> tuple:  # Tune pickles what it was given for its restore, which is not used
        return Searcher, ()

    def suggest(self, trial_id: str) -> Any:
        config = self.driver.next_worker()
        if config is None:
            return Searcher.FINISHED if self.driver.finished else None
        self.driver.on_asked(trial_id, config["kind"])
        return config

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        pass

    def save(self, checkpoint_path: str) -> None:
        pass

    def restore(self, checkpoint_path: str) -> None:
        pass


class _Stopper(tune.Stopper):
    """Ends workers that wait for room when the work is finished."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver

    def __reduce__(self) -> tuple:
        return tune.Stopper, ()

    def __call__(self, trial_id: str, result: dict) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.driver.finished and (not self.driver.running or bool(self.driver.error))


class _Listener(tune.Callback):
    """Hands on to the driver what Tune says of its workers."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver

    def __reduce__(self) -> tuple:
        return tune.Callback, ()

    def on_step_begin(self, iteration: int, trials: list, **info: Any) -> None:
        self.driver.poll()

    def on_trial_start(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        self.driver.on_started(trial.trial_id)

    def on_trial_result(self, iteration: int, trials: list, trial: Any, result: dict, **info: Any) -> None:
        self.driver.on_report(result)

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        self.driver.on_ended(trial.trial_id)

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        self.driver.on_ended(trial.trial_id, last_line(trial.get_error() or "its worker died"))
