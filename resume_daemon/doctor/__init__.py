"""Everything that a resume depends on, looked at once: facts are gathered, then judged."""
