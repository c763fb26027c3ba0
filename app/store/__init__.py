"""The truth: SQLAlchemy, synchronous; every query of the system is here and nowhere else."""
