"""Perceptrons on random patterns, standard and presynaptic (Fig. 5b, c; Methods): claims P1 to P3."""
