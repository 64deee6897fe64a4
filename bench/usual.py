"""The loop that one would write first for one network: nn.Module, autograd, a DataLoader. What `presyn bench` compares with."""

from collections.abc import Callable, Iterator

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from torchvision import transforms

from presyn import Dataset
from presyn.methods.presynaptic import PresynapticOptions

BATCH = 100


class Stochastic(nn.Linear):
    """A layer of presynaptically stochastic synapses, as one would write it for one network."""

    p: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.bias.requires_grad_(False)
        self.register_buffer("p", torch.full_like(self.weight, 0.25))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, torch.bernoulli(self.p) * self.weight / self.p, self.bias)

    @torch.no_grad()
    def update(self, o: PresynapticOptions) -> None:
        g, p = self.weight.grad, self.p
        assert g is not None
        self.weight -= o.eta0 * (1 - p) * g
        step = torch.where(g.abs() >= o.g_lim, o.p_up, -o.p_down) * (1 - p)
        self.p = torch.where(p >= o.p_freeze, p, (p + step).clamp(o.p_min, 1))


def network() -> tuple[nn.Sequential, list[Stochastic]]:
    """784-200-200-10."""
    layers = [Stochastic(784, 200), Stochastic(200, 200), Stochastic(200, 10)]
    return nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2]), layers


class Images(torch.utils.data.Dataset):
    """Images through torchvision's transforms, as its own MNIST does it."""

    def __init__(self, data: Dataset) -> None:
        permutation = torch.randperm(784)
        self.data = data
        self.transform = transforms.Compose(
            [transforms.ToTensor(), transforms.Normalize(0.1307, 0.3081), transforms.Lambda(lambda x: x.view(-1)[permutation])]
        )

    def __len__(self) -> int:
        return len(self.data.train_y)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.data.train_x[i].reshape(28, 28))), int(self.data.train_y[i])


def loop_with_loader(data: Dataset, o: PresynapticOptions) -> Callable[[int], None]:
    """Steps of one network, its images through a DataLoader and torchvision's transforms."""
    model, layers = network()
    loader = DataLoader(Images(data), BATCH, shuffle=True, drop_last=True)

    def forever() -> Iterator:
        while True:
            yield from loader

    batches = forever()

    def steps(count: int) -> None:
        for _ in range(count):
            x, y = next(batches)
            model.zero_grad()
            cross_entropy(model(x), y).backward()
            for layer in layers:
                layer.update(o)

    return steps


def loop_on_device(data: Dataset, o: PresynapticOptions, device: torch.device) -> Callable[[int], None]:
    """Steps of one network whose images are on the device already, shuffled there and normalised."""
    model, layers = network()
    model.to(device)
    x = ((torch.tensor(data.train_x, device=device).float() - data.offset) * data.scale)[:, torch.randperm(784, device=device)]
    y = torch.tensor(data.train_y, device=device)

    def steps(count: int) -> None:
        rows = torch.randint(0, len(y), (count, BATCH), device=device)
        for i in range(count):
            model.zero_grad()
            cross_entropy(model(x[rows[i]]), y[rows[i]]).backward()
            for layer in layers:
                layer.update(o)

    return steps
