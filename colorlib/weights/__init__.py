"""The colorizer that ships: colorizer.weights.h5, and colorizer.json (its builder, training and scores)."""
