"""Sparsity (Fig. 2 and 3, appendix 1d and 2): which synapses of the plastic model are important, and where they are.

`stage` has the experiment over runs that the energy experiment trains as well, `uniform_start` the one from a uniform p;
`summary` makes their numbers of rows, `figures` draws them, `claims` tests S1 to S13 on them.
"""
