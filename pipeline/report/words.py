"""What methods and settings are called in tables and figures."""

NAMES = {
    "presynaptic": "Presynaptic Consolidation",
    "sgd": "No Consolidation",
    "bgd": "Bayesian Gradient Descent",
    "ewc": "Elastic Weight Consolidation",
    "joint": "Joint Training",
}
COLUMNS = {
    "published": "published",
    "as_published": "as published",
    "default": "default settings",
    "searched": "tuned once",
    "strict": "tuned once, one eta0",
}
NO_SETTINGS = {"ewc": "tuned on Permuted and on Split MNIST"}  # instead of "as published", where the paper names none
