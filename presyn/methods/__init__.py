"""The learning rules. To add one: a module with a subclass of Method, and a line in this table."""

from presyn.methods.base import Method, MethodOptions
from presyn.methods.bgd import BGD
from presyn.methods.ewc import EWC
from presyn.methods.perceptron import Perceptron, PresynapticPerceptron
from presyn.methods.presynaptic import Presynaptic
from presyn.methods.sgd import SGD, Joint
from presyn.methods.si import SI

METHODS: dict[str, type[Method]] = {
    "presynaptic": Presynaptic,
    "sgd": SGD,
    "bgd": BGD,
    "ewc": EWC,
    "si": SI,
    "joint": Joint,
}
PERCEPTRONS: dict[str, type[Method]] = {"perceptron": Perceptron, "presynaptic-perceptron": PresynapticPerceptron}
"""The rules that learn random patterns instead of images."""


def method_class(method: str) -> type[Method]:
    """The class of a method, by its name in either table."""
    return PERCEPTRONS[method] if method in PERCEPTRONS else METHODS[method]


__all__ = ["METHODS", "PERCEPTRONS", "Method", "MethodOptions", "method_class"]
