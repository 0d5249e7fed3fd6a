"""Finding people in frames and following them through time."""
