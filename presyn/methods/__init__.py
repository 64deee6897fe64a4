"""The learning rules. To add one: a module with a subclass of Method, and a line in this table."""

from presyn.methods.base import Method, MethodOptions
from presyn.methods.bgd import BGD
from presyn.methods.ewc import EWC
from presyn.methods.presynaptic import Presynaptic
from presyn.methods.sgd import SGD, Joint

METHODS: dict[str, type[Method]] = {
    "presynaptic": Presynaptic,
    "sgd": SGD,
    "bgd": BGD,
    "ewc": EWC,
    "joint": Joint,
}

__all__ = ["METHODS", "Method", "MethodOptions"]
