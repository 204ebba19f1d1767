"""Anonymize a user and keep the data for statistics (the guide, "Data Anonymization"; GDPR, article 17)."""

from __future__ import annotations

from uuid import UUID

from privacy.actions.around_holds import effects_of_anonymization, wait_for_holds
from privacy.actions.erase_files import delete_files, require_file_stores, stored_files
from privacy.actions.followed import unfinished_after_files
from privacy.actions.locking import check_deferred_constraints, locked_user
from privacy.actions.outcome import Outcome
from privacy.actions.recording import complete, counts_of_anonymization, recorded
from privacy.actions.stores import effects_in_stores, remove_from_stores, store_sessions
from privacy.actions.superusers import check_removal
from privacy.audit import Action, done_or_unchanged, record, record_failure_of
from privacy.declarations import Disposition
from privacy.ledger.entry import Kind
from privacy.registry import Effect, registry
from privacy.users import require_user, unknown_user


def preview_anonymization(user_id: UUID) -> list[Effect]:
    """Return what ``anonymize`` would do. Raise UserFacingError for an unknown user, StoreUnavailable if it would fail."""
    require_user(user_id)
    with store_sessions():
        return [*effects_of_anonymization(user_id), *effects_in_stores(user_id)]


def anonymize(user_id: UUID, *, actor_id: UUID | None = None) -> Outcome:
    """Clear what identifies the user in every table and delete the user from every store, or change nothing in PostgreSQL.

    The function connects to the stores before it locks the row. After the ledger has the entry, it deletes the files that a store of ``FILE_STORES``
    has. It deletes from the other stores as the last step before the commit. If it ends in between, the action stays pending, and
    ``process_requests`` completes it. A second call clears what was written since the first.

    Raise UserFacingError for a user that is unknown or locked by another transaction, and as ``check_removal`` does. Raise StoreUnavailable if a
    store cannot be reached (nothing has changed), FilesRemain if a file store did not delete a file, and DeletionUnconfirmed if a store does not
    confirm the deletion.
    """
    with record_failure_of(Action.ANONYMIZE, user_id, actor_id=actor_id), store_sessions():
        require_user(user_id)
        check_removal(user_id, actor_id)
        require_file_stores(user_id)
        with recorded(Kind.ANONYMIZE, user_id, counts_of_anonymization(user_id)) as recording, unfinished_after_files(recording):
            recording.is_final = any(stored_files(user_id))
            addresses, _ = delete_files(user_id)
            return _anonymize(user_id, addresses, actor_id)


def _anonymize(user_id: UUID, addresses: set[str], actor_id: UUID | None) -> Outcome:
    with locked_user(user_id) as user:
        if user is None:
            raise unknown_user(user_id)
        check_removal(user_id, actor_id)
        delete_files(user_id, known=addresses)  # of rows that were added meanwhile
        effects = effects_of_anonymization(user_id)
        for owner in registry.owners:
            owner.anonymize(user_id)
        if any(effect.disposition is Disposition.HELD for effect in effects):
            wait_for_holds(Kind.ANONYMIZE, user_id)
        else:
            complete(Kind.ANONYMIZE, user_id)
        record(Action.ANONYMIZE, user_id, done_or_unchanged(not user.is_anonymized), actor_id=actor_id)
        check_deferred_constraints()
        return Outcome(user_id, not user.is_anonymized, (*effects, *remove_from_stores(user_id)))
