"""``resume-daemon demo``: a small real trainer, a real daemon beside it, and accidents."""
