"""Optional helpers that run inside the trainer's process."""
