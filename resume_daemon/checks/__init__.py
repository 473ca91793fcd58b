"""One file per theme: facts in, findings out. Checks read nothing and write nothing."""
