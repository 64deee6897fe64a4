"""A worker: it looks at its node, then trains one cohort after the other until no work is left."""

import socket
import time
from collections.abc import Collection, Sequence
from typing import Any

import torch

from presyn import PresynError
from presyn.device import usable_memory
from sweeps.cluster import NodeError
from sweeps.cluster.nodes import Setup, look_at_node, prepare_device
from sweeps.packing import Member
from sweeps.train_cohort import Ended, group_by_segments, resume_cohort, train_members


def run_worker(config: dict[str, Any], setup: Setup, work: Any) -> None:
    """The Tune trial: a worker, from its look at the node to the end of the work.

    Args:
        config: kind, what it trains on: cpu or gpu.
        setup: What it needs to train as the driver would.
        work: The actor `Work`.
    """
    import ray
    from ray import tune

    name, node, kind = tune.get_context().get_trial_id(), ray.get_runtime_context().get_node_id(), config["kind"]
    cluster = setup.cluster

    def ask(method: str, *arguments: Any) -> Any:
        return ray.get(getattr(work, method).remote(*arguments))

    try:
        look_at_node(setup, kind)
        torch.set_num_threads(cluster.cpus)
        device = prepare_device(cluster, kind)
        while (cohort := ask("take_cohort", name, node, kind, usable_memory(device, cluster.gpu_share))) != []:
            if cohort is None:
                time.sleep(0.5)
                continue
            setup.checkpoints.check_shared()

            def report(steps: int, ended: Ended) -> Collection[str]:
                if ended:
                    tune.report({"ended": ended})
                return ask("report_segment", name, steps, [run_id for run_id, _, _ in ended])

            if failed := _train(cohort, setup, device, report):
                ask("fail_runs", failed)
    except NodeError as e:
        ask("leave_out", name, node, f"{socket.gethostname()}: {e}")
    except PresynError as e:
        ask("give_up", name, f"{socket.gethostname()}: {e}")


def _train(cohort: Sequence[Member], setup: Setup, device: torch.device, report: Any) -> dict[str, str]:
    """Train the runs of a cohort from wherever their checkpoints stand now; returns run id -> why, of those that raise."""
    members, ended = resume_cohort(cohort, setup.checkpoints)
    given_away = set(report(0, ended)) if ended else set()
    failed: dict[str, str] = {}
    cluster = setup.cluster
    for group in group_by_segments([m for m in members if m.run_id not in given_away]):
        failed |= train_members(group, setup.checkpoints, setup.load, device, report, cluster.gpu_share, cluster.arithmetic)
    return failed


def last_line(e: BaseException | str) -> str:
    """The last line of an error's message, or its kind if it has none."""
    lines = [line.strip() for line in str(e).splitlines() if line.strip()]
    return lines[-1] if lines else type(e).__name__
