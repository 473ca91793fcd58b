"""Readers of file formats: bounded in memory and time, never executing what they read."""
