"""Ours, beyond the paper: other steps of p, another data set, and longer sequences of tasks."""
