"""The rules written straight from the equations: one network, autograd, no batching, no fusion. The slow twin."""

import torch
from torch.nn.functional import cross_entropy, relu

from presyn.methods.presynaptic import PresynapticOptions


class PresynapticTwin:
    """Eqs. 1-5 of the paper with the departures of the released code, for one network."""

    def __init__(self, o: PresynapticOptions, sizes, weights, biases, initial_u=None):
        """initial_u: the uniform numbers that decide the first p where p_init is uniform."""
        self.o, self.sizes = o, sizes
        scale = 1.0 if o.normalise else 1 / (o.p_min if o.release is None else o.release)
        self.w = [layer * scale for layer in unflatten(sizes, weights)]
        self.b = list(biases.split(sizes[1:]))
        if o.bias == "none":
            self.b = [torch.zeros_like(b) for b in self.b]
        self.p = [torch.full_like(w, o.p_min if o.release is None else o.release) for w in self.w]
        if o.p_init == "uniform":
            self.p = [o.p_min + (1 - o.p_min) * u for u in unflatten(sizes, initial_u)]

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
            self.w[i] = self.w[i] - o.eta0 * ((1 - p) if o.modulate_lr else 1) * (g + o.l2 * self.w[i])
            large = g.abs() >= o.g_lim if o.threshold == "ge" else g.abs() > o.g_lim
            step = torch.where(large, o.p_up, -o.p_down)
            step = step * (1 - p) if o.p_step == "scaled" else step
            moved = (p + step).clamp(o.p_min, 1)
            frozen = p >= o.p_freeze if o.p_freeze < 1 else torch.zeros_like(p, dtype=torch.bool)
            self.p[i] = torch.where(frozen, p, moved)
        if o.bias == "trained":
            self.b = [v - o.eta0 * (g + o.l2 * v) for v, g in zip(self.b, grads[len(w) :], strict=True)]
        return loss.detach()


def unflatten(sizes, flat):
    """A flat row of weights as layers (inputs, outputs)."""
    layers = flat.split([i * j for i, j in zip(sizes, sizes[1:], strict=False)])
    return [p.view(i, j) for p, i, j in zip(layers, sizes, sizes[1:], strict=False)]


def uniforms(key, n):
    """The numbers behind a mask, by plain Python integers: the twin of `presyn.random_numbers.uniform`."""
    word = 2**32 - 1

    def mix(v):
        v = ((v ^ (v >> 16)) * 0x7FEB352D) & word
        v = ((v ^ (v >> 15)) * 0x846CA68B) & word
        return v ^ (v >> 16)

    first, second = (int(k) & word for k in key)
    return torch.tensor([(mix(mix(i ^ first) ^ second) & 0xFFFFFF) / 2**24 for i in range(n)])


class EWCTwin:
    """Kirkpatrick et al. (2017), Eq. 3, with a penalty kept for every task and the Fisher information image by image."""

    def __init__(self, o, sizes, weights, biases):
        self.o, self.sizes = o, sizes
        self.theta = [*unflatten(sizes, weights), *biases.split(sizes[1:])]
        self.tasks = []

    def logits(self, theta, x):
        n = len(self.sizes) - 1
        for i, (w, b) in enumerate(zip(theta[:n], theta[n:], strict=True)):
            x = x @ w + b
            x = relu(x) if i < n - 1 else x
        return x

    def penalty(self, theta):
        o, total = self.o, torch.zeros(())
        for age, (fishers, anchors) in enumerate(reversed(self.tasks)):
            # Online: one penalty around the latest strengths, to which older tasks give what gamma left of them.
            weight = o.gamma**age if o.form == "online" else 1.0
            around = self.tasks[-1][1] if o.form == "online" else anchors
            total = total + weight * sum((f * (t - a) ** 2).sum() for f, t, a in zip(fishers, theta, around, strict=True))
        return o.lam / 2 * total

    def step(self, x, y):
        theta = [t.clone().requires_grad_() for t in self.theta]
        loss = cross_entropy(self.logits(theta, x), y) + self.penalty(theta)
        grads = torch.autograd.grad(loss, theta)
        self.theta = [t - self.o.eta0 * g for t, g in zip(self.theta, grads, strict=True)]

    def end_task(self, x, y):
        fishers = [torch.zeros_like(t) for t in self.theta]
        for image, label in zip(x, y, strict=True):
            theta = [t.clone().requires_grad_() for t in self.theta]
            likelihood = -cross_entropy(self.logits(theta, image[None]), label[None])
            for f, g in zip(fishers, torch.autograd.grad(likelihood, theta), strict=True):
                f += g**2 / len(x)
        self.tasks.append((fishers, [t.clone() for t in self.theta]))


class SITwin(EWCTwin):
    """Zenke et al. (2017), Eqs. 3 to 5, with the gradients of the task and of the penalty apart, by plain gradient descent."""

    def __init__(self, o, sizes, weights, biases):
        super().__init__(o, sizes, weights, biases)
        self.importance, self.path = ([torch.zeros_like(t) for t in self.theta] for _ in range(2))
        self.anchor = [t.clone() for t in self.theta]

    def step(self, x, y):
        theta = [t.clone().requires_grad_() for t in self.theta]
        of_task = torch.autograd.grad(cross_entropy(self.logits(theta, x), y), theta)
        penalty = self.o.c * sum((i * (t - a) ** 2).sum() for i, t, a in zip(self.importance, theta, self.anchor, strict=True))
        of_penalty = torch.autograd.grad(penalty, theta)
        moved = [-self.o.eta0 * (g + h) for g, h in zip(of_task, of_penalty, strict=True)]
        self.path = [w - g * d for w, g, d in zip(self.path, of_task, moved, strict=True)]
        self.theta = [t + d for t, d in zip(self.theta, moved, strict=True)]

    def end_task(self):
        for i, w, t, a in zip(self.importance, self.path, self.theta, self.anchor, strict=True):
            i.copy_((i + w / ((t - a) ** 2 + self.o.xi)).clamp(min=0))
        self.path = [torch.zeros_like(t) for t in self.theta]
        self.anchor = [t.clone() for t in self.theta]


class BGDTwin:
    """Zeno et al. (2018), algorithm 1, one sampled network after the other."""

    def __init__(self, o, sizes, weights, biases):
        self.o, self.sizes = o, sizes
        self.mu = torch.cat([weights, biases])
        self.sigma = torch.full_like(self.mu, o.sigma0)

    def step(self, x, y, epsilons):
        n = sum(i * j for i, j in zip(self.sizes, self.sizes[1:], strict=False))
        g_mean, ge_mean = torch.zeros_like(self.mu), torch.zeros_like(self.mu)
        for epsilon in epsilons:
            theta = (self.mu + self.sigma * epsilon).requires_grad_()
            a, layers = x, unflatten(self.sizes, theta[:n])
            for i, (w, b) in enumerate(zip(layers, theta[n:].split(self.sizes[1:]), strict=True)):
                a = a @ w + b
                a = relu(a) if i < len(layers) - 1 else a
            (g,) = torch.autograd.grad(cross_entropy(a, y, reduction="sum"), theta)
            g_mean += g / len(epsilons)
            ge_mean += g * epsilon / len(epsilons)
        s = self.sigma
        self.mu = self.mu - self.o.eta0 * s**2 * g_mean
        self.sigma = s * torch.sqrt(1 + (s * ge_mean / 2) ** 2) - s**2 * ge_mean / 2
