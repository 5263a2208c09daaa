"""`um backup` and `um restore`: an installation as one file, while it runs, and back into a home."""
