from django.db import models


class Diary(models.Model):  # noqa: DJ008  # never shown
    """No path leads to a user, as in the tables of a job queue: the arguments are text."""

    arguments = models.TextField()

    class Meta:
        app_label = "diaries"
