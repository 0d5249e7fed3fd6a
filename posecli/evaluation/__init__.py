"""Metrics: one module a family, each equal to its referee."""
