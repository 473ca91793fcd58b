"""One file per trainer family: what its checkpoints look like on disk."""
