"""The long-running process: one loop that decides and records, and side tasks that observe."""
