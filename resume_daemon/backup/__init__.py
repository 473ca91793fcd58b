"""Backups: which checkpoints are kept elsewhere, copied, proved, listed, dropped and put back."""
