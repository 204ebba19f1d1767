"""Requests of data subjects: states, deadlines, steps and jobs."""
