"""Users: table ``users``."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Self

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
from findme.core.db.restored import STAFF
from findme.core.db.validators import validate_storable
from findme.core.errors import UserFacingError
from findme.core.models import TimestampedModel
from privacy.users import anonymized_email

if TYPE_CHECKING:
    from videos.models import Video


HIDING_COLUMNS = ("deleted_at", "restricted_at", "objected_at")
"""Each has a time since which the user has no point and is in no search and no match, or NULL.

The trigger function ``vector_sync_users_updated`` queues a user whose row gets or loses such a time.
"""


class UserQuerySet(models.QuerySet["User"]):
    def alive(self) -> Self:
        """Return the users that are neither soft-deleted nor anonymized."""
        return self.filter(deleted_at__isnull=True)

    def processable(self) -> Self:
        """Return the users whose data may be used for searches and matches: no column of ``HIDING_COLUMNS`` is set."""
        return self.filter(**{f"{column}__isnull": True for column in HIDING_COLUMNS})

    def members(self) -> Self:
        """Return the users of the service, without staff."""
        return self.filter(is_staff=False)

    def matchable(self) -> Self:
        """Return the users that other users may see: processable, active, verified and not staff."""
        return self.processable().members().filter(active=True, verified=True)

    def with_email(self, email: str) -> Self:
        """Return the user with this address, in upper or lower case.

        The query uses the index on ``lower(email)``. ``iexact`` would compare ``UPPER(email)``.
        """
        try:
            validate_storable(self.model._meta.get_field("email"), email)
        except ValidationError:
            return self.none()
        return self.filter(Exact(Lower("email"), Lower(Value(email))))


MAX_BIO_BYTES = 100_000
"""``to_tsvector`` fails if the lexemes and positions of a text need more than 1 MB. A text of this length needs less."""
CLEARED = frozenset({"email", "full_name", "bio", "password", "deleted_at", "is_superuser"})
"""Columns that a deletion or an anonymization writes, except ``last_login``, which Django saves alone at each login."""
SWITCHES = frozenset({"restricted_at", "objected_at", "unconfirmed_at"})
"""Columns that only the privacy actions, ``accounts.confirmation`` and plain SQL write."""
REMOVAL_COLUMNS = ("email", "deleted_at")
"""Columns that show whether the user was deleted or anonymized."""


class _Absent:
    """Hides an attribute of a base class."""

    def __get__(self, instance: object, owner: type) -> NoReturn:
        raise AttributeError(f"{owner.__name__} has no such attribute")


class UserManager(BaseUserManager["User"].from_queryset(UserQuerySet)):  # type: ignore[misc]  # a base class made by a call
    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        """Create a user. Without a password, the user cannot log in. Raise IntegrityError if the address is taken."""
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
    """One user. ``password`` is the column ``password_hash``. No other user sees a user with ``deleted_at``."""

    after_restore: ClassVar[str] = STAFF

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
    restricted_at = models.DateTimeField(null=True, blank=True, editable=False, help_text="Since when the data is only stored (article 18)")
    objected_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="Since when the user is in no search and no match (articles 7 (3) and 21)"
    )
    unconfirmed_at = models.DateTimeField(
        null=True,
        blank=True,
        editable=False,
        help_text="Since when an account with rights is disabled: a backup was restored, and the operator has not confirmed the account",
    )
    is_staff = models.BooleanField("staff", default=False, db_default=False)
    is_superuser = models.BooleanField("superuser", default=False, db_default=False)

    objects = UserManager()

    # A dump by natural keys has no UUIDs, so a load would create new ones. Qdrant identifies users by their UUID.
    natural_key = _Absent()

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS = ["full_name", "date_of_birth", "gender"]

    class Meta:
        db_table = "users"
        permissions = [
            ("export_personal_data", "Can export a user's data"),
            ("anonymize_user", "Can anonymize a user"),
            ("soft_delete_user", "Can soft-delete a user"),
            ("erase_user", "Can delete a user for good"),
            ("restrict_user", "Can restrict the processing of a user's data"),
            ("stop_matching_user", "Can stop the matching of a user"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["email"], name="users_email_key", violation_error_message="Another user has this e-mail address."
            ),
            models.UniqueConstraint(
                Lower("email"), name="idx_users_email_lower", violation_error_message="Another user has this e-mail address."
            ),
            models.CheckConstraint(
                condition=Q(gender__in=["male", "female", "other"]),
                name="users_gender_check",
                violation_error_message="The gender must be male, female or other.",
            ),
            *supported_dates(
                "users",
                *(
                    "date_of_birth",
                    "created_at",
                    "updated_at",
                    "deleted_at",
                    "last_login",
                    "restricted_at",
                    "objected_at",
                    "unconfirmed_at",
                ),
            ),
            models.CheckConstraint(
                condition=HasBytes("bio", most=MAX_BIO_BYTES),
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
            # For the search of the admin: UPPER(column) LIKE UPPER('%term%').
            GinIndex(
                OpClass(Upper("full_name"), "gin_trgm_ops"), OpClass(Upper("email"), "gin_trgm_ops"), name="idx_users_name_email_trgm"
            ),
        ]

    def __str__(self) -> str:
        """Return the UUID. Django's admin log keeps ``str(obj)`` forever, even for an erased user."""
        return str(self.pk)

    @classmethod
    def from_db(cls, *args: Any, **kwargs: Any) -> Self:
        user = super().from_db(*args, **kwargs)
        user._record_row(REMOVAL_COLUMNS)
        return user

    def refresh_from_db(self, using: str | None = None, fields: Iterable[str] | None = None, from_queryset: Any = None) -> None:
        fields = None if fields is None else list(fields)
        super().refresh_from_db(using=using, fields=fields, from_queryset=from_queryset)
        self._record_row(REMOVAL_COLUMNS if fields is None else fields)

    def save_base(
        self,
        raw: bool = False,
        force_insert: bool | tuple[models.base.ModelBase, ...] = False,
        force_update: bool = False,
        using: str | None = None,
        update_fields: Iterable[str] | None = None,
    ) -> None:
        super().save_base(raw, force_insert, force_update, using, update_fields)
        self._record_row(REMOVAL_COLUMNS if update_fields is None else update_fields)

    save_base.alters_data = True  # type: ignore[attr-defined]  # as in Django: templates must not call it

    def _record_row(self, fields: Iterable[str]) -> None:
        """Store the removal columns among ``fields`` as they were just read or written."""
        now = {name: self.__dict__[name] for name in REMOVAL_COLUMNS if name in fields and name in self.__dict__}
        self._row = self.__dict__.get("_row", {}) | now

    def _do_update(self, base_qs: Any, using: Any, pk_val: Any, values: Any, update_fields: Any, *args: Any) -> Any:
        """Update the row, unless another transaction has deleted or anonymized the user since it was read.

        The update would restore the cleared data. The condition is part of the UPDATE, so it is atomic and costs no extra query. A user that was read
        without these columns counts as not removed. Raise DatabaseError if the row was removed.

        A save without ``update_fields`` leaves ``SWITCHES`` as they are.
        """
        if update_fields is None:
            # An object that was read or dumped earlier would lift a restriction, withdraw an objection, or confirm an account.
            values = [value for value in values if value[0].name not in SWITCHES]
        unremoved = base_qs
        if not self._state.adding and (update_fields is None or not CLEARED.isdisjoint(update_fields)):
            row = self.__dict__.get("_row", {})
            if row.get("deleted_at") is None:
                unremoved = unremoved.filter(deleted_at__isnull=True)
            if row.get("email") != anonymized_email(pk_val):
                unremoved = unremoved.exclude(email=anonymized_email(pk_val))
        updated = super()._do_update(unremoved, using, pk_val, values, update_fields, *args)
        if not updated and unremoved is not base_qs and base_qs.filter(pk=pk_val).exists():
            raise DatabaseError(f"User {pk_val} was deleted or anonymized by another transaction: nothing was saved. Reload the user.")
        return updated

    def clean(self) -> None:
        """Raise ValidationError if the video belongs to another user."""
        super().clean()
        with suppress(ObjectDoesNotExist):  # the field reports it
            if self.video is not None and self.video.user_id != self.pk:
                raise ValidationError({"video": "This video belongs to another user."})

    @property
    def is_active(self) -> bool:  # type: ignore[override]  # a class attribute in Django
        """Return whether the user may log in and has rights: active, not deleted, and after a restore confirmed by the operator."""
        return self.active and self.deleted_at is None and self.unconfirmed_at is None

    @property
    def is_hidden(self) -> bool:
        """Return whether no search and no match may have the user: deleted, restricted, or after an objection."""
        return any(getattr(self, column) is not None for column in HIDING_COLUMNS)

    @property
    def is_unchangeable(self) -> bool:
        """Return whether the user is restricted, and has no approved request for a rectification (article 18 (2))."""
        from privacy.requests.conditions import may_be_rectified  # its modules need the models of all apps

        return self.restricted_at is not None and not may_be_rectified(self.pk)

    def require_changeable(self) -> None:
        """Raise UserFacingError for a user that forms and commands must not change."""
        if self.is_unchangeable:
            raise UserFacingError(
                f"The user {str(self.pk)!r} is restricted: nothing was changed. Lift the restriction first, or approve the user's request for a"
                " rectification."
            )

    @property
    def age(self) -> int:
        """Return the age in whole years today (UTC)."""
        return age_on(self.date_of_birth, today())

    def get_full_name(self) -> str:
        return self.full_name

    def get_short_name(self) -> str:
        return self.full_name
