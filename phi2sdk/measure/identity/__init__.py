"""Is it the same model? What the sampled answers of a target say about it."""
