"""What is decided about samples: weights, sets of labels, selections. Tensors only."""
