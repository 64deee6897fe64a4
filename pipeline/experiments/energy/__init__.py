"""Energy and information (Fig. 1, appendix 1a to 1c): three models under l2 penalties on MNIST.

`stage` has the main experiment, `settings` the one with p_up and p_down a quarter smaller and larger, `fixed_release` the one
over fixed release probabilities. `summary` computes their numbers from rows, `figures` draws them, and `claims` tests E1 to E8.
"""
