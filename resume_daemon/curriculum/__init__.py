"""The curriculum state of a run: every version kept, and each checkpoint given its own."""
