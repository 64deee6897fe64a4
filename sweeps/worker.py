"""A worker's turn: it looks at its node, then trains one cohort after the other until no work is left."""

import socket
import time
from collections.abc import Collection, Sequence
from typing import Any

import torch

from presyn import PresynError
from presyn.device import usable_memory
from sweeps.cluster import NodeError, where
from sweeps.cluster.nodes import Driver, look, prepare_kind
from sweeps.packing import Member
from sweeps.train_cohort import Ended, by_parts, resume_cohort, train_members


def turn(config: dict[str, Any], driver: Driver, work: Any) -> None:
    """The Tune trial: a worker, from its look at the node to the end of the work."""
    import ray
    from ray import tune

    me, node, kind = tune.get_context().get_trial_id(), ray.get_runtime_context().get_node_id(), config["kind"]

    def ask(name: str, *arguments: Any) -> Any:
        return ray.get(getattr(work, name).remote(*arguments))

    try:
        look(driver, kind)
        torch.set_num_threads(driver.cluster.cpus)
        device = prepare_kind(driver.cluster, kind)
        while (cohort := ask("take", me, node, kind, usable_memory(device, driver.cluster.gpu_share))) != []:
            if cohort is None:
                time.sleep(0.5)
                continue
            driver.checkpoints.check_shared()

            def report(steps: int, ended: Ended, size: int = len(cohort)) -> Collection[str]:
                if ended:
                    tune.report({"ended": ended, "where": where(device, size, driver.cluster.tf32)})
                return ask("part", me, steps, [run_id for run_id, _ in ended])

            _train(cohort, driver, device, report)
    except NodeError as e:
        ask("leave_out", me, node, f"{socket.gethostname()}: {e}")
    except PresynError as e:
        ask("give_up", me, f"{socket.gethostname()}: {e}")


def _train(cohort: Sequence[Member], driver: Driver, device: torch.device, report: Any) -> None:
    members, ended = resume_cohort(cohort, driver.checkpoints)
    left = set(report(0, ended)) if ended else set()
    for group in by_parts([m for m in members if m.run_id not in left]):
        train_members(group, driver.checkpoints, driver.load, device, report, driver.cluster.gpu_share)


def looked(driver: Driver, kind: str) -> str:
    """The look at a node as a task of its own: what is wrong with it, or nothing."""
    try:
        look(driver, kind)
    except NodeError as e:
        return f"{socket.gethostname()}: {e}"
    return ""


def last_line(e: BaseException | str) -> str:
    """The last line of an error's words, or its kind if it has none."""
    lines = [line.strip() for line in str(e).splitlines() if line.strip()]
    return lines[-1] if lines else type(e).__name__
