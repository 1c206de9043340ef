"""Benchmarks: each compares with a limit measured in the same run. `make bench` runs them all."""
