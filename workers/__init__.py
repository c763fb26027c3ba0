"""What Cardea watches: camera readers, the pipeline of one camera, the worker that runs them, the virtual camera."""
