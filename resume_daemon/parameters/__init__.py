"""What a run was trained with: read from every source there is, compared, and put right."""
