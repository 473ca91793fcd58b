"""What a run is trained with, from every place that says so: one file for each kind of source."""
