"""``python -m resume_daemon`` is the same program as ``resume-daemon``."""

from resume_daemon.cli import main

if __name__ == "__main__":
    main()
