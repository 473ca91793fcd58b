"""Changing one value in a file of the user's: its exact bytes, and nothing else.

One module per kind of file. Each says how a value is written there, and what a file of that kind
means, so that the outcome can be read again and held against what was asked for.
"""
