"""Detectors of faces and persons: labelled pictures, priors, losses, training."""
