"""Sweeps of planes over a volume: geodesic distances by torch on any device, or by compiled loops on a CPU."""
