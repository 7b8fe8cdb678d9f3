"""Metrics, benchmarks, reports."""
