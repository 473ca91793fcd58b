"""What can be put right in a run, one file for each kind: facts in, proposals or refusals out."""
