"""Intended differences from the schema of the migration guide. docs/how-to/migrate.md has each name with its reason."""

from __future__ import annotations

NOTHING = None

NOW = ("timestamp with time zone default now()", "timestamp with time zone not null default CURRENT_TIMESTAMP")
KEY = ("uuid not null default uuid_generate_v4()", "uuid not null default gen_random_uuid()")
REQUIRED = ("uuid", "uuid not null")
METADATA = ("jsonb default '{}'::jsonb", "jsonb not null default '{}'::jsonb")


def deferred(column: str, table: str) -> tuple[str, str]:
    definition = f"FOREIGN KEY ({column}) REFERENCES {table}(id) ON DELETE CASCADE"
    return definition, f"{definition} DEFERRABLE INITIALLY DEFERRED"


def zero_to_one(column: str) -> tuple[str, str]:
    definition = "CHECK ((({column} >= ({zero})::double precision) AND ({column} <= ({one})::double precision)))"
    return definition.format(column=column, zero="0", one="1"), definition.format(column=column, zero="0.0", one="1.0")


def one_of(column: str, *values: str) -> tuple[None, str]:
    listed = ", ".join(f"'{value}'::character varying" for value in values)
    return NOTHING, f"CHECK ((({column})::text = ANY ((ARRAY[{listed}])::text[])))"


def supported(table: str, *columns: str, kind: str = "timestamp with time zone") -> dict[str, tuple[None, str]]:
    """Return the CHECK that Python can read the date or time."""
    first, end = ("0001-01-02", "9999-12-31") if kind == "date" else ("0001-01-02 00:00:00+00", "9999-12-31 00:00:00+00")
    return {
        f"check {table}.{table}_{column}_range_check": (
            NOTHING,
            f"CHECK ((({column} >= '{first}'::{kind}) AND ({column} < '{end}'::{kind})))",
        )
        for column in columns
    }


def queues(event: str, rows: str, function: str) -> tuple[None, str]:
    return NOTHING, " ".join(f"AFTER {event} {rows} FOR EACH STATEMENT EXECUTE FUNCTION vector_sync_{function}()".split())


DEVIATIONS: dict[str, tuple[str | None, str | None]] = {
    # Keys come from a built-in function of PostgreSQL.
    "function uuid_generate_v4()": ("uuid sql SELECT gen_random_uuid()", NOTHING),
    "column users.id": KEY,
    "column videos.id": KEY,
    "column matches.id": KEY,
    "column video_calls.id": KEY,
    # NOT NULL that the guide forgot next to a default, or without which a row would belong to no user.
    "column users.verified": ("boolean default false", "boolean not null default false"),
    "column users.active": ("boolean default true", "boolean not null default true"),
    "column users.created_at": NOW,
    "column users.updated_at": NOW,
    "column videos.user_id": REQUIRED,
    "column videos.metadata": METADATA,
    "column videos.created_at": NOW,
    "column videos.updated_at": NOW,
    "column matches.user_id": REQUIRED,
    "column matches.matched_user_id": REQUIRED,
    "column matches.created_at": NOW,
    "column matches.updated_at": NOW,
    "column video_calls.match_id": REQUIRED,
    "column video_calls.caller_id": REQUIRED,
    "column video_calls.callee_id": REQUIRED,
    "column video_calls.metadata": METADATA,
    "column video_calls.created_at": NOW,
    # Columns that Django's accounts need.
    "column users.last_login": (NOTHING, "timestamp with time zone"),
    "column users.restricted_at": (NOTHING, "timestamp with time zone"),
    "column users.objected_at": (NOTHING, "timestamp with time zone"),
    "column users.unconfirmed_at": (NOTHING, "timestamp with time zone"),
    "column users.is_staff": (NOTHING, "boolean not null default false"),
    "column users.is_superuser": (NOTHING, "boolean not null default false"),
    # Foreign keys are checked at the end of the transaction. The profile's video is a foreign key too.
    "foreign key videos.videos_user_id_fkey": deferred("user_id", "users"),
    "foreign key matches.matches_user_id_fkey": deferred("user_id", "users"),
    "foreign key matches.matches_matched_user_id_fkey": deferred("matched_user_id", "users"),
    "foreign key video_calls.video_calls_match_id_fkey": deferred("match_id", "matches"),
    "foreign key video_calls.video_calls_caller_id_fkey": deferred("caller_id", "users"),
    "foreign key video_calls.video_calls_callee_id_fkey": deferred("callee_id", "users"),
    "foreign key users.users_video_id_fkey": (
        NOTHING,
        "FOREIGN KEY (video_id, id) REFERENCES videos(id, user_id) ON DELETE SET NULL (video_id) DEFERRABLE INITIALLY DEFERRED",
    ),
    "unique videos.videos_id_user_key": (NOTHING, "UNIQUE (id, user_id)"),
    # Every cascade has an index.
    "index users.idx_users_video_id": (NOTHING, "USING btree (video_id)"),
    "index videos.idx_videos_user_id_cascade": (NOTHING, "USING btree (user_id)"),
    "index matches.idx_matches_matched_user_id": (NOTHING, "USING btree (matched_user_id)"),
    "index video_calls.idx_video_calls_callee_id": (NOTHING, "USING btree (callee_id)"),
    # Addresses that differ only in case are equal. The admin searches for parts of a name or an address.
    "index users.idx_users_email_lower": (NOTHING, "UNIQUE USING btree (lower((email)::text))"),
    "index users.idx_users_name_email_trgm": (
        NOTHING,
        "USING gin (upper((full_name)::text) gin_trgm_ops, upper((email)::text) gin_trgm_ops)",
    ),
    # Two users have at most one match in a week, in either order. The week exists.
    "index matches.matches_pair_week_number_year_key": (
        NOTHING,
        "UNIQUE USING btree (LEAST(user_id, matched_user_id), GREATEST(user_id, matched_user_id), week_number, year) WHERE (deleted_at IS NULL)",
    ),
    "check matches.matches_week_number_check": (
        NOTHING,
        (
            "CHECK (((week_number >= 1) AND (week_number <= CASE WHEN ((year >= 1) AND (year <= 9999))"
            " THEN (EXTRACT(week FROM make_date(year, 12, 28)))::integer ELSE NULL::integer END) AND (year >= 1) AND (year <= 9999)))"
        ),
    ),
    "check matches.matches_user_action_check": one_of("user_action", "accepted", "rejected"),
    "check matches.matches_matched_user_action_check": one_of("matched_user_action", "accepted", "rejected"),
    # The two users of a call are those of its match, which never change. A call ends after it starts.
    "trigger matches.matches_users_check": (
        NOTHING,
        "AFTER UPDATE FOR EACH ROW WHEN (((old.id IS DISTINCT FROM new.id) OR (LEAST(old.user_id, old.matched_user_id) IS DISTINCT FROM LEAST(new.user_id, new.matched_user_id)) OR (GREATEST(old.user_id, old.matched_user_id) IS DISTINCT FROM GREATEST(new.user_id, new.matched_user_id)))) EXECUTE FUNCTION refuse_other_users_of_match()",
    ),
    "trigger video_calls.video_calls_users_of_match_check": (
        NOTHING,
        "CONSTRAINT AFTER INSERT OR UPDATE DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION require_users_of_match()",
    ),
    "check video_calls.video_calls_duration_check": (NOTHING, "CHECK ((duration >= 0))"),
    "check video_calls.video_calls_ended_at_check": (NOTHING, "CHECK ((ended_at > started_at))"),
    "check video_calls.video_calls_ended_times_check": (
        NOTHING,
        "CHECK (((NOT ((status)::text = 'ended'::text)) OR ((ended_at IS NOT NULL) AND (started_at IS NOT NULL))))",
    ),
    # Python can read every date.
    **supported("users", "date_of_birth", kind="date"),
    **supported("users", "created_at", "updated_at", "deleted_at", "last_login", "restricted_at", "objected_at", "unconfirmed_at"),
    **supported("videos", "created_at", "updated_at", "deleted_at"),
    **supported("matches", "expires_at", "created_at", "updated_at", "deleted_at"),
    **supported("video_calls", "started_at", "ended_at", "created_at"),
    # A bio fits into the full-text index.
    "check users.users_bio_length_check": (NOTHING, "CHECK ((octet_length(bio) <= 100000))"),
    # No way of writing restores data of a user who was anonymized or deleted for good.
    "check users.users_reserved_email_check": (
        NOTHING,
        "CHECK (((NOT ((email)::text ~* '^deleted_[0-9a-f-]{36}@findme\\.ai$'::text)) OR ((email)::text = (COALESCE('deleted_'::text, ''::text) || COALESCE(((COALESCE((id)::character varying, ''::character varying))::text || COALESCE('@findme.ai'::text, ''::text)), ''::text)))))",
    ),
    "trigger matches.erased_users_inserted": (
        NOTHING,
        "AFTER INSERT REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION refuse_rows_of_erased_users('user_id,matched_user_id', 'created_at<')",
    ),
    "trigger matches.holds_deleted": (
        NOTHING,
        "AFTER DELETE REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION refuse_deletion_of_held_rows('matches', 'user_id,matched_user_id')",
    ),
    "trigger matches.holds_truncated": (
        NOTHING,
        "BEFORE TRUNCATE FOR EACH STATEMENT EXECUTE FUNCTION refuse_truncation_of_held_rows('matches')",
    ),
    "trigger matches.erased_users_updated": (
        NOTHING,
        "AFTER UPDATE FOR EACH ROW WHEN (((old.user_id IS DISTINCT FROM new.user_id) OR (old.matched_user_id IS DISTINCT FROM new.matched_user_id) OR (old.created_at IS DISTINCT FROM new.created_at))) EXECUTE FUNCTION refuse_data_of_erased_users('user_id,matched_user_id', 'created_at<')",
    ),
    "trigger users.erased_users_inserted": (
        NOTHING,
        "AFTER INSERT REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION refuse_rows_of_erased_users('id', 'email=deleted_{id}@findme.ai', 'full_name=Deleted User', 'bio', 'password_hash', 'deleted_at!', 'last_login', 'is_superuser=false')",
    ),
    "trigger users.holds_deleted": (
        NOTHING,
        "AFTER DELETE REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION refuse_deletion_of_held_rows('', 'id')",
    ),
    "trigger users.holds_truncated": (
        NOTHING,
        "BEFORE TRUNCATE FOR EACH STATEMENT EXECUTE FUNCTION refuse_truncation_of_held_rows('')",
    ),
    "trigger users.erased_users_reduced": (
        NOTHING,
        "AFTER UPDATE FOR EACH ROW WHEN (((old.date_of_birth IS DISTINCT FROM new.date_of_birth) OR ((old.gender)::text IS DISTINCT FROM (new.gender)::text))) EXECUTE FUNCTION refuse_reduced_data_of_erased_users()",
    ),
    "trigger users.users_id_kept": (
        NOTHING,
        "BEFORE UPDATE OF id FOR EACH ROW WHEN ((old.id IS DISTINCT FROM new.id)) EXECUTE FUNCTION refuse_changed_user_id()",
    ),
    "trigger users.erased_users_updated": (
        NOTHING,
        "AFTER UPDATE FOR EACH ROW WHEN (((old.id IS DISTINCT FROM new.id) OR ((old.email)::text IS DISTINCT FROM (new.email)::text) OR ((old.full_name)::text IS DISTINCT FROM (new.full_name)::text) OR (old.bio IS DISTINCT FROM new.bio) OR ((old.password_hash)::text IS DISTINCT FROM (new.password_hash)::text) OR (old.deleted_at IS DISTINCT FROM new.deleted_at) OR (old.last_login IS DISTINCT FROM new.last_login) OR (old.is_superuser IS DISTINCT FROM new.is_superuser))) EXECUTE FUNCTION refuse_data_of_erased_users('id', 'email=deleted_{id}@findme.ai', 'full_name=Deleted User', 'bio', 'password_hash', 'deleted_at!', 'last_login', 'is_superuser=false')",
    ),
    "trigger users.note_erased_users_deleted": (
        NOTHING,
        "AFTER DELETE REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION note_deleted_users()",
    ),
    "trigger users.note_erased_users_inserted": (
        NOTHING,
        "AFTER INSERT REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION note_anonymized_rows()",
    ),
    "trigger users.note_erased_users_updated": (
        NOTHING,
        "AFTER UPDATE FOR EACH ROW WHEN ((((new.email)::text = (('deleted_'::text || (new.id)::text) || '@findme.ai'::text)) AND (((old.email)::text IS DISTINCT FROM (new.email)::text) OR ((new.deleted_at IS NOT NULL) AND (old.deleted_at IS DISTINCT FROM new.deleted_at))))) EXECUTE FUNCTION note_anonymized_user()",
    ),
    "trigger users.note_privacy_action_anonymized": (
        NOTHING,
        "AFTER UPDATE FOR EACH ROW WHEN ((((new.email)::text = (('deleted_'::text || (new.id)::text) || '@findme.ai'::text)) AND ((old.email)::text IS DISTINCT FROM (new.email)::text))) EXECUTE FUNCTION note_privacy_action_of_anonymized('3')",
    ),
    "trigger users.note_privacy_action_deleted": (
        NOTHING,
        "AFTER DELETE REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION note_privacy_action_of_deleted('1')",
    ),
    "trigger users.note_privacy_action_hidden": (
        NOTHING,
        "AFTER UPDATE FOR EACH ROW WHEN (((old.deleted_at IS NULL) IS DISTINCT FROM (new.deleted_at IS NULL))) EXECUTE FUNCTION note_privacy_action_of_hidden('5', '6')",
    ),
    "trigger users.note_privacy_action_objected": (
        NOTHING,
        "AFTER UPDATE FOR EACH ROW WHEN (((old.objected_at IS NULL) IS DISTINCT FROM (new.objected_at IS NULL))) EXECUTE FUNCTION note_privacy_action_of_column('objected_at', '9', '10')",
    ),
    "trigger users.note_privacy_action_restricted": (
        NOTHING,
        "AFTER UPDATE FOR EACH ROW WHEN (((old.restricted_at IS NULL) IS DISTINCT FROM (new.restricted_at IS NULL))) EXECUTE FUNCTION note_privacy_action_of_column('restricted_at', '7', '8')",
    ),
    "trigger users.note_privacy_action_while_restricted": (
        NOTHING,
        "AFTER UPDATE FOR EACH ROW WHEN (((old.restricted_at IS NOT NULL) AND ((new.email)::text IS DISTINCT FROM (('deleted_'::text || (new.id)::text) || '@findme.ai'::text)))) EXECUTE FUNCTION note_privacy_action_of_restricted()",
    ),
    "trigger users.note_privacy_action_truncated": (
        NOTHING,
        "BEFORE TRUNCATE FOR EACH STATEMENT EXECUTE FUNCTION note_privacy_action_of_truncated('1')",
    ),
    "trigger video_calls.erased_users_inserted": (
        NOTHING,
        "AFTER INSERT REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION refuse_rows_of_erased_users('caller_id,callee_id', 'session_id=deleted_{id}', 'recording_url', 'metadata')",
    ),
    "trigger video_calls.holds_deleted": (
        NOTHING,
        "AFTER DELETE REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION refuse_deletion_of_held_rows('calls', 'caller_id,callee_id')",
    ),
    "trigger video_calls.holds_truncated": (
        NOTHING,
        "BEFORE TRUNCATE FOR EACH STATEMENT EXECUTE FUNCTION refuse_truncation_of_held_rows('calls')",
    ),
    "trigger video_calls.erased_users_updated": (
        NOTHING,
        "AFTER UPDATE FOR EACH ROW WHEN (((old.caller_id IS DISTINCT FROM new.caller_id) OR (old.callee_id IS DISTINCT FROM new.callee_id) OR ((old.session_id)::text IS DISTINCT FROM (new.session_id)::text) OR ((old.recording_url)::text IS DISTINCT FROM (new.recording_url)::text) OR (old.metadata IS DISTINCT FROM new.metadata))) EXECUTE FUNCTION refuse_data_of_erased_users('caller_id,callee_id', 'session_id=deleted_{id}', 'recording_url', 'metadata')",
    ),
    "trigger videos.erased_users_inserted": (
        NOTHING,
        "AFTER INSERT REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION refuse_rows_of_erased_users('user_id', 'storage_url', 'thumbnail_url', 'rejection_reason', 'metadata', 'deleted_at!')",
    ),
    "trigger videos.holds_deleted": (
        NOTHING,
        "AFTER DELETE REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION refuse_deletion_of_held_rows('videos', 'user_id')",
    ),
    "trigger videos.holds_truncated": (
        NOTHING,
        "BEFORE TRUNCATE FOR EACH STATEMENT EXECUTE FUNCTION refuse_truncation_of_held_rows('videos')",
    ),
    "trigger videos.restricted_users_inserted": (
        NOTHING,
        "AFTER INSERT REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION note_privacy_action_of_restricted_rows('user_id')",
    ),
    "trigger videos.restricted_users_updated": (
        NOTHING,
        "AFTER UPDATE REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION note_privacy_action_of_restricted_rows('user_id')",
    ),
    "trigger videos.erased_users_updated": (
        NOTHING,
        "AFTER UPDATE FOR EACH ROW WHEN (((old.user_id IS DISTINCT FROM new.user_id) OR ((old.storage_url)::text IS DISTINCT FROM (new.storage_url)::text) OR ((old.thumbnail_url)::text IS DISTINCT FROM (new.thumbnail_url)::text) OR (old.rejection_reason IS DISTINCT FROM new.rejection_reason) OR (old.metadata IS DISTINCT FROM new.metadata) OR (old.deleted_at IS DISTINCT FROM new.deleted_at))) EXECUTE FUNCTION refuse_data_of_erased_users('user_id', 'storage_url', 'thumbnail_url', 'rejection_reason', 'metadata', 'deleted_at!')",
    ),
    # Triggers queue the users whose point may be out of date.
    "trigger users.vector_sync_inserted": queues("INSERT", "REFERENCING NEW TABLE AS new_rows", "users_inserted"),
    "trigger users.vector_sync_updated": queues("UPDATE", "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows", "users_updated"),
    "trigger users.vector_sync_deleted": queues("DELETE", "REFERENCING OLD TABLE AS old_rows", "users_deleted"),
    "trigger users.vector_sync_truncated": queues("TRUNCATE", "", "truncated"),
    # Django writes these differently. They mean the same to PostgreSQL.
    "check matches.matches_check": ("CHECK ((user_id <> matched_user_id))", "CHECK ((NOT (user_id = matched_user_id)))"),
    "check matches.matches_match_score_check": zero_to_one("match_score"),
    "check videos.videos_verification_score_check": zero_to_one("verification_score"),
    "index users.idx_users_active": (
        "USING btree (active) WHERE ((active = true) AND (deleted_at IS NULL))",
        "USING btree (active) WHERE (active AND (deleted_at IS NULL))",
    ),
}
"""The guide's definition and the project's, by name. NOTHING if there is none."""
