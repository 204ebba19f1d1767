"""The people: table ``users``."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn, Self

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.contrib.postgres.indexes import GinIndex, OpClass
from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.db import DatabaseError, models
from django.db.models import Q, Value
from django.db.models.functions import Cast, Concat, Lower, Upper
from django.db.models.lookups import Exact

from accounts.age import age_on, today
from findme.core.db.constraints import ForeignKeyConstraint, foreign_key
from findme.core.db.dates import supported_dates
from findme.core.db.expressions import EnglishSearchVector, HasBytes
from findme.core.db.validators import validate_storable
from findme.core.models import TimestampedModel
from privacy.people import anonymized_email

if TYPE_CHECKING:
    from videos.models import Video


class UserQuerySet(models.QuerySet["User"]):
    def alive(self) -> Self:
        """Not deleted, softly or by anonymization."""
        return self.filter(deleted_at__isnull=True)

    def members(self) -> Self:
        """Not staff: the people whom the service is for."""
        return self.filter(is_staff=False)

    def matchable(self) -> Self:
        """Who may be shown to another person: alive, active, verified, and not staff."""
        return self.alive().members().filter(active=True, verified=True)

    def with_email(self, email: str) -> Self:
        """The one with this address, in whatever case it is written. Uses the index on ``lower(email)``, as ``iexact`` (``UPPER``) would not."""
        try:
            validate_storable(self.model._meta.get_field("email"), email)
        except ValidationError:
            return self.none()
        return self.filter(Exact(Lower("email"), Lower(Value(email))))


MOST_BYTES_OF_A_BIO = 100_000
"""``to_tsvector`` raises an error for a text whose lexemes and positions need more than 1 MB. No text of this length needs as much."""
CLEARED = frozenset({"email", "full_name", "bio", "password", "deleted_at", "is_superuser"})
"""The columns that a deletion or an anonymization writes, but for the last login, which Django saves at each login by itself."""
WHETHER_THERE = ("email", "deleted_at")
"""The columns that tell whether the person is there."""


class _Absent:
    """An attribute that a base class has, and this class has not."""

    def __get__(self, instance: object, owner: type) -> NoReturn:
        raise AttributeError(f"{owner.__name__} has no such attribute")


class UserManager(BaseUserManager["User"].from_queryset(UserQuerySet)):  # type: ignore[misc]  # a base made by a call
    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        """Make a person; without a password, one who cannot log in. Raises IntegrityError for an address that is taken."""
        user: User = self.model(email=email, **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> User:
        return self.create_user(email, password, **{"is_staff": True, "is_superuser": True} | fields)

    def get_by_natural_key(self, username: str | None) -> User:
        found: User = self.with_email(username or "").get()
        return found


class User(TimestampedModel, AbstractBaseUser, PermissionsMixin):
    """One person. ``password`` is the column ``password_hash``; ``deleted_at`` set means that nobody sees them any more."""

    constraint_fields = {"users_reserved_email_check": "email", "users_video_id_fkey": "video"}

    class Gender(models.TextChoices):
        MALE = "male", "Male"
        FEMALE = "female", "Female"
        OTHER = "other", "Other"

    email = models.EmailField(max_length=255)
    password = models.CharField("password", max_length=255, blank=True, db_column="password_hash")  # '' after an anonymization
    full_name = models.CharField(max_length=255)
    date_of_birth = models.DateField()
    gender = models.CharField(max_length=50, choices=Gender)
    bio = models.TextField(null=True, blank=True)  # noqa: DJ001  # the guide's column: NULL after an anonymization
    video: models.ForeignKey[Video | None, Video | None] = foreign_key("videos.Video", related_name="+", null=True)
    verified = models.BooleanField(default=False, db_default=False)
    active = models.BooleanField(default=True, db_default=True)
    last_login = models.DateTimeField(null=True, blank=True, editable=False)
    is_staff = models.BooleanField("staff", default=False, db_default=False)
    is_superuser = models.BooleanField("superuser", default=False, db_default=False)

    objects = UserManager()

    # A dump by natural keys would leave the UUIDs out, and a load would give everyone another one: the other store knows them by it.
    natural_key = _Absent()

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS = ["full_name", "date_of_birth", "gender"]

    class Meta:
        db_table = "users"
        verbose_name = "person"
        verbose_name_plural = "people"
        permissions = [
            ("export_personal_data", "Can export a person's data"),
            ("anonymize_user", "Can anonymize a person"),
            ("soft_delete_user", "Can delete a person softly"),
            ("erase_user", "Can delete a person for good"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["email"], name="users_email_key", violation_error_message="Another person has this e-mail address."
            ),
            models.UniqueConstraint(
                Lower("email"), name="idx_users_email_lower", violation_error_message="Another person has this e-mail address."
            ),
            models.CheckConstraint(
                condition=Q(gender__in=["male", "female", "other"]),
                name="users_gender_check",
                violation_error_message="The gender must be male, female or other.",
            ),
            *supported_dates("users", "date_of_birth", "created_at", "updated_at", "deleted_at", "last_login"),
            models.CheckConstraint(
                condition=HasBytes("bio", most=MOST_BYTES_OF_A_BIO),
                name="users_bio_length_check",
                violation_error_message="A bio can have at most 100,000 bytes (UTF-8): shorten it.",
            ),
            models.CheckConstraint(
                condition=~Q(email__iregex=r"^deleted_[0-9a-f-]{36}@findme\.ai$")
                | Q(email=Concat(Value("deleted_"), Cast("id", models.CharField()), Value("@findme.ai"))),
                name="users_reserved_email_check",
                violation_error_message="This address is reserved for an anonymized user.",
            ),
            ForeignKeyConstraint(
                columns=["video_id", "id"],
                to_table="videos",
                to_columns=["id", "user_id"],
                on_delete="SET NULL",
                set_null=["video_id"],
                name="users_video_id_fkey",
                violation_error_message="This user has no such video.",
            ),
        ]
        indexes = [
            models.Index(fields=["email"], name="idx_users_email", condition=Q(deleted_at__isnull=True)),
            models.Index(fields=["verified"], name="idx_users_verified", condition=Q(deleted_at__isnull=True)),
            models.Index(fields=["active"], name="idx_users_active", condition=Q(active=True, deleted_at__isnull=True)),
            models.Index(fields=["-created_at"], name="idx_users_created_at"),
            GinIndex(EnglishSearchVector("bio"), name="idx_users_bio_search"),
            models.Index(fields=["video"], name="idx_users_video_id"),
            # What the admin's search sends: UPPER(column) LIKE UPPER('%term%').
            GinIndex(
                OpClass(Upper("full_name"), "gin_trgm_ops"), OpClass(Upper("email"), "gin_trgm_ops"), name="idx_users_name_email_trgm"
            ),
        ]

    def __str__(self) -> str:
        """The UUID: Django's admin log keeps ``str(obj)`` for ever, also of a person who was erased."""
        return str(self.pk)

    @classmethod
    def from_db(cls, *args: Any, **kwargs: Any) -> Self:
        person = super().from_db(*args, **kwargs)
        person._remember(WHETHER_THERE)
        return person

    def refresh_from_db(self, using: str | None = None, fields: Iterable[str] | None = None, from_queryset: Any = None) -> None:
        fields = None if fields is None else list(fields)
        super().refresh_from_db(using=using, fields=fields, from_queryset=from_queryset)
        self._remember(WHETHER_THERE if fields is None else fields)

    def save_base(
        self,
        raw: bool = False,
        force_insert: bool | tuple[models.base.ModelBase, ...] = False,
        force_update: bool = False,
        using: str | None = None,
        update_fields: Iterable[str] | None = None,
    ) -> None:
        super().save_base(raw, force_insert, force_update, using, update_fields)
        self._remember(WHETHER_THERE if update_fields is None else update_fields)

    save_base.alters_data = True  # type: ignore[attr-defined]  # as Django's: no template calls it

    def _remember(self, fields: Iterable[str]) -> None:
        """Keep what the row has, as it was just read or written, of those of FIELDS that tell whether the person is there."""
        now = {name: self.__dict__[name] for name in WHETHER_THERE if name in fields and name in self.__dict__}
        self._row = self.__dict__.get("_row", {}) | now

    def _do_update(self, base_qs: Any, using: Any, pk_val: Any, values: Any, update_fields: Any, *args: Any) -> Any:
        """As Django's, but never over the row of one who was deleted or anonymized since it was read: that would give back what was cleared.

        The UPDATE itself asks, so nothing comes in between and it is no query more. Who was read without these columns counts as there.
        """
        still = base_qs
        if not self._state.adding and (update_fields is None or not CLEARED.isdisjoint(update_fields)):
            row = self.__dict__.get("_row", {})
            if row.get("deleted_at") is None:
                still = still.filter(deleted_at__isnull=True)
            if row.get("email") != anonymized_email(pk_val):
                still = still.exclude(email=anonymized_email(pk_val))
        updated = super()._do_update(still, using, pk_val, values, update_fields, *args)
        if not updated and still is not base_qs and base_qs.filter(pk=pk_val).exists():
            raise DatabaseError(f"The person {pk_val} left meanwhile: read them again.")
        return updated

    def clean(self) -> None:
        """Raise ValidationError for a video of another user."""
        super().clean()
        with suppress(ObjectDoesNotExist):  # which the field itself reports
            if self.video is not None and self.video.user_id != self.pk:
                raise ValidationError({"video": "This video is another person's."})

    @property
    def is_active(self) -> bool:  # type: ignore[override]  # Django's class attribute says True of everyone
        """May log in: active and not deleted."""
        return self.active and self.deleted_at is None

    @property
    def age(self) -> int:
        """Whole years today (UTC)."""
        return age_on(self.date_of_birth, today())

    def get_full_name(self) -> str:
        return self.full_name

    def get_short_name(self) -> str:
        return self.full_name
