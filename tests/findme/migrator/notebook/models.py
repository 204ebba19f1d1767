from django.db import models

from findme.core.db.restored import KEPT


class Note(models.Model):
    after_restore = KEPT

    text = models.TextField()

    class Meta:
        db_table = "notes"
        indexes = [models.Index(fields=["text"], name="idx_notes_text")]

    def __str__(self) -> str:
        return self.text
