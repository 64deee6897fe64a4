"""The rules written straight from the equations: one network, autograd, no batching, no fusion. The slow twin."""

import torch
from torch.nn.functional import cross_entropy, relu

from presyn.methods.presynaptic import PresynapticOptions


class PresynapticTwin:
    """Eqs. 1-5 of the paper with the departures of the released code, for one network."""

    def __init__(self, o: PresynapticOptions, sizes, weights, biases):
        self.o, self.sizes = o, sizes
        scale = 1.0 if o.normalise else 1 / (o.p_min if o.release is None else o.release)
        self.w = [layer * scale for layer in unflatten(sizes, weights)]
        self.b = list(biases.split(sizes[1:]))
        if o.bias == "none":
            self.b = [torch.zeros_like(b) for b in self.b]
        self.p = [torch.full_like(w, o.p_min if o.release is None else o.release) for w in self.w]

    def step(self, x, y, u):
        """x (B, inputs); y (B,); u: the uniform numbers that decide the releases, one per weight."""
        o = self.o
        w = [v.clone().requires_grad_() for v in self.w]
        b = [v.clone().requires_grad_() for v in self.b]
        a = x
        for i, u_i in enumerate(unflatten(self.sizes, u)):
            chance = self.p[i] if o.release is None else torch.full_like(self.p[i], o.release)
            r = (u_i < chance).float()
            if not o.normalise:
                transmitted = r * w[i]
            elif o.release is not None and o.ghost_scale == "release":
                transmitted = r * w[i] / o.release
            else:
                transmitted = r * w[i] / self.p[i]
            a = a @ transmitted + b[i]
            a = relu(a) if i < len(w) - 1 else a
        loss = cross_entropy(a, y)
        grads = torch.autograd.grad(loss, [*w, *b])
        for i, g in enumerate(grads[: len(w)]):
            p = self.p[i]
            self.w[i] = self.w[i] - o.eta0 * ((1 - p) if o.modulate_lr else 1) * g
            large = g.abs() >= o.g_lim if o.threshold == "ge" else g.abs() > o.g_lim
            step = torch.where(large, o.p_up, -o.p_down)
            step = step * (1 - p) if o.p_step == "scaled" else step
            moved = (p + step).clamp(o.p_min, 1)
            frozen = p >= o.p_freeze if o.p_freeze < 1 else torch.zeros_like(p, dtype=torch.bool)
            self.p[i] = torch.where(frozen, p, moved)
        if o.bias == "trained":
            self.b = [v - o.eta0 * g for v, g in zip(self.b, grads[len(w) :], strict=True)]
        return loss.detach()


def unflatten(sizes, flat):
    """A flat row of weights as layers (inputs, outputs)."""
    parts = flat.split([i * j for i, j in zip(sizes, sizes[1:], strict=False)])
    return [p.view(i, j) for p, i, j in zip(parts, sizes, sizes[1:], strict=False)]


def uniforms(key, n):
    """The numbers behind a mask, by plain Python integers: the twin of `presyn.streams.uniform`."""
    word = 2**32 - 1

    def mix(v):
        v = ((v ^ (v >> 16)) * 0x7FEB352D) & word
        v = ((v ^ (v >> 15)) * 0x846CA68B) & word
        return v ^ (v >> 16)

    first, second = (int(k) & word for k in key)
    return torch.tensor([(mix(mix(i ^ first) ^ second) & 0xFFFFFF) / 2**24 for i in range(n)])
