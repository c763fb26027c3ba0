"""Builds the artefacts that Cardea starts with out of nets that ship inside registry packages."""
