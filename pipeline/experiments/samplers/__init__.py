"""Ours: which sampler finds what, for how many network steps, and what its winners come to on new seeds."""
