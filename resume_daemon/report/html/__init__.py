"""The report as one page with pictures: ``gather`` reads, the rest turns values into text."""
