"""Observations -> numbers: metrics, intervals, means, differences, and what they are derived through."""
