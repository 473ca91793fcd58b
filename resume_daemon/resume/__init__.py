"""What to start now: which checkpoint, which tracker run and step, which curriculum state."""
