"""What the paper needs, as stages: search, transfer, table; the result store; MLflow; the command line."""

__version__ = "0.1.0"
