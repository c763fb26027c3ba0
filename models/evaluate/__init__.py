"""Evaluations: figures with intervals, on pictures and clips with truth."""
