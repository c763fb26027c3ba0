"""The offline toolchain: builds, measures and exports nets; hands over artefact folders and nothing else."""
