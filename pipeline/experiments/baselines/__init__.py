"""Ours: what was tried on cells of Table 1 that do not come out as printed, such as other inputs or another start."""
