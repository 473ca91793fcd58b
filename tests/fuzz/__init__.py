"""Any bytes in place of a file, for each format: nothing may happen but an error of our own."""
