"""The settings: one schema gives validation, the sample file, the editor schema and the docs."""
