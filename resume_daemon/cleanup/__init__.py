"""Clean-up before a training: what is left over, what of it may go, and taking it away safely."""
