from django.db import models


class Note(models.Model):
    text = models.TextField()

    class Meta:
        db_table = "notes"
        indexes = [models.Index(fields=["text"], name="idx_notes_text")]

    def __str__(self) -> str:
        return self.text
