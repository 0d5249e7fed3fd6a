"""Many videos: found, put in order, annotated by worker processes, and accounted for, whatever happens to one of them."""
