"""Predicts what a net costs on a device: nets are made, timed, and learned from (LETI)."""
