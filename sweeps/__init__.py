"""Where and what to search: spaces, manifests, packing into cohorts, execution by Ray Tune."""
