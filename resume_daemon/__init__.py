"""A watcher beside a training run that keeps it resumable."""

__version__ = "0.1.0"
