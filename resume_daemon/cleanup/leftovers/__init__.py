"""One file per kind of left-over: what it is, and when it may go. Pure."""
