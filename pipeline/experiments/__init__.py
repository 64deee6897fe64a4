"""The experiments of the paper, each a stage in a file of its own; and the names by which `presyn reproduce` knows them."""
