"""Running: seeds, ranks, run folders, checkpoints, tables."""
