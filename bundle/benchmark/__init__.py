"""Measurements that the pages under `docs/` quote."""
