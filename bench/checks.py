"""Whether a device computes what the CPU does: bits, a few steps, and accuracies by statistics."""

from typing import Any

import numpy as np
import torch
from scipy import stats

from presyn import Cohort, Dataset, PresynError, load, make_run
from presyn.methods.presynaptic import Presynaptic, PresynapticOptions
from presyn.random_numbers import Purpose, bits, keys, permutation

FALSE_ALARM = 0.001  # of the comparison of accuracies between devices


def same_bits(device: torch.device) -> dict[str, bool]:
    """Whether random words and orders on a device are those of the CPU."""
    key = keys(range(64), Purpose.RELEASE, 7)
    n = 198_800
    same_bits = torch.equal(bits(key, n), bits(key.to(device), n).cpu())
    orders = torch.equal(permutation(key[:4], 60_000), permutation(key[:4].to(device), 60_000).cpu())
    return {"release words": same_bits, "orders": orders}


def step_difference(data: Dataset, device: torch.device, k: int = 4, steps: int = 5) -> float:
    """The largest difference of strengths, relative to the largest strength, after steps on a device and on the CPU."""
    ends = []
    for where, fuse in ((torch.device("cpu"), False), (device, True)):
        cohort = Cohort(
            [make_run("presynaptic", "permuted-mnist", s) for s in range(k)], data, where, fuse=fuse, arithmetic="dense"
        )
        program = cohort.make_steps(0)
        program.load(0, 0)
        program.advance(steps)
        ends.append(cohort.state["weights"].cpu())
    return float((ends[0] - ends[1]).abs().max() / ends[0].abs().max())


def fused_update_bits(device: torch.device, k: int = 4, n: int = 199_000) -> bool:
    """Whether the fused update of the rule is the plain one, bit by bit, where the compiler keeps to the rules of rounding.

    Usually it contracts a product and a sum into one operation, which rounds once, and divides by reciprocals; those
    differences are left to the statistics.
    """
    options = PresynapticOptions(eta0=0.01)
    generator = torch.Generator().manual_seed(0)
    w, grad = (torch.randn(k, n, generator=generator).to(device) * s for s in (0.05, 0.002))
    p = (0.25 + 0.7 * torch.rand(k, n, generator=generator)).to(device)
    key, ends = keys(range(k), Purpose.RELEASE, np.arange(2)).to(device), []
    settings = torch._inductor.config._config  # type: ignore[attr-defined]
    exact = {name: True for name in ("emulate_precision_casts", "eager_numerics.division_rounding") if name in settings}
    for fuse in (False, True):
        with torch._inductor.config.patch(exact):
            method = Presynaptic([options] * k, device, fuse)
            state = {"weights": w.clone(), "biases": torch.zeros(k, 1, device=device), "p": p.clone()}
            sent, biases = method.transmit(state, key[0])
            sent = sent.clone()
            method.update(state, grad, None, sent, biases, key[1])
            ends.append([state["weights"], state["p"], sent])
    return all(torch.equal(a.view(torch.int32), b.view(torch.int32)) for a, b in zip(*ends, strict=True))


def accuracy_p(device: torch.device, seeds: int = 32) -> float:
    """p of a paired t test of the mean accuracies of the same seeds on a device and on the CPU."""
    on_cpu, on_device = (_accuracies(seeds, *how) for how in ((torch.device("cpu"), False), (device, True)))
    return 1.0 if np.array_equal(on_cpu, on_device) else float(stats.ttest_rel(on_cpu, on_device).pvalue)


def _accuracies(seeds: int, device: torch.device, fuse: bool) -> np.ndarray:
    cohort = Cohort([make_run("presynaptic", "permuted-digits", s) for s in range(seeds)], load("digits"), device, fuse=fuse)
    while not cohort.done:
        cohort.train_segment()
    ends = {run.seed: record.mean_accuracy or 0.0 for run, record in cohort.results()}  # 0 where a run diverged
    return np.array([ends[seed] for seed in range(seeds)])


def check(data: Dataset, device: torch.device) -> dict[str, Any]:
    """Whether a device computes what the CPU does.

    Raises:
        PresynError: it does not; names what differs.
    """
    checks = {
        **same_bits(device),
        "fused update, bit by bit": fused_update_bits(device),
        "step, relative difference": step_difference(data, device),
        "accuracies, p": accuracy_p(device),
    }
    wrong = [name for name, value in checks.items() if value is False]
    if checks["step, relative difference"] > 1e-4:
        wrong.append(f"a step (by {checks['step, relative difference']:.1e} of the largest strength)")
    if checks["accuracies, p"] < FALSE_ALARM:
        wrong.append(f"accuracies (p = {checks['accuracies, p']:.1e})")
    if wrong:
        raise PresynError(f"{device} does not compute what the CPU does: {', '.join(wrong)}. Its timings would mean nothing.")
    return checks
