"""What the paper needs, as stages: search, transfer, table; the result store; MLflow; the command line."""
