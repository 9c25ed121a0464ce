"""Whole networks of the real router in one process and in virtual time: see README.md."""
