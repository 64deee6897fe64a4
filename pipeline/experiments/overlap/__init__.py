"""Whether tasks that are learned one by one freeze the same synapses (claim M1)."""
