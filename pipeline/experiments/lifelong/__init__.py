"""Learning and forgetting over tasks (Fig. 4b, 4c, appendix 3): of the rows of Table 1, and of runs with the course of p."""
