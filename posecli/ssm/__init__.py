"""Selective scan (the S6 recurrence of Mamba) over tokens in several orders."""

from __future__ import annotations

from posecli.ssm.orders import global_orders, inverse_order, window_orders
from posecli.ssm.scan import ShapeError, available_backends, multi_scan, resolve_backend, self_test

__all__ = [
    "ShapeError",
    "available_backends",
    "global_orders",
    "inverse_order",
    "multi_scan",
    "resolve_backend",
    "self_test",
    "window_orders",
]
