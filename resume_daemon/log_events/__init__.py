"""What a trainer prints, as far as it tells of a seam: lines of its log become events."""
