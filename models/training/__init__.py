"""Training: one loop for all nets, and a task for each thing that is learned."""

TASKS = {  # name in a run file -> module with the class Task
    "stem": "models.training.stem",
    "detector": "models.training.detector",
}
