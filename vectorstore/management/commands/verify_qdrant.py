"""Compare both stores, and repair the differences."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from findme.core.commands.arguments import add_after_restore, add_discard_vectors, number
from findme.core.commands.base import FindmeCommand
from findme.core.commands.progress import progress
from findme.core.commands.running import note_counts
from findme.core.errors import UserFacingError, one_line
from findme.core.plurals import counted
from vectorstore.consistency.comparison_due import comparison_due_warning
from vectorstore.retention.unique_vectors import points_hold
from vectorstore.verification.verify import RepairRefused, Verified, VerifiedCollection, verify


class Command(FindmeCommand):
    help = (
        "Compare every user with their point in every collection that receives writes. Changes nothing without --repair."
        " Exit 0: no differences except pending changes; 1: differences, or quarantined users; 2: the comparison failed."
    )
    after_interrupt = "Run it again: it compares from the beginning. What --repair did before stays done."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--repair", action="store_true", help="queue the users whose points differ, and delete points without a user")
        parser.add_argument(
            "--max-changes",
            type=number,
            metavar="N",
            help="maximum number of changes of a repair (default: 100, or 5 %% of the points if that is more)",
        )
        parser.add_argument("--force", action="store_true", help="repair any number of differences")
        add_discard_vectors(parser)
        add_after_restore(parser)
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *args: Any, **options: Any) -> None:
        if not options["repair"] and (options["force"] or options["max_changes"] is not None):
            raise UserFacingError("--max-changes and --force need --repair. Add --repair, or omit them.")
        if not options["repair"] and options["discard_vectors"] is not None:
            raise UserFacingError("--discard-vectors needs --repair. Add --repair, or omit it.")
        if not options["repair"] and options["after_restore"]:
            raise UserFacingError("--after-restore needs --repair. Add --repair, or omit it.")
        verified = self._verify(**options)
        self._report(verified, as_json=options["json"])
        if verified.queued is None and not options["json"] and _is_repairable(verified):
            at_risk = verified.unique_vectors + verified.foreign_vectors
            discard = f" --discard-vectors {at_risk}, or store those vectors first" if at_risk else ""
            self.print_line(f"To repair this: manage.py verify_qdrant --repair{discard}")
        if not verified.clean:
            self.exit_with_findings()

    def _verify(self, **options: Any) -> Verified:
        repaired_triggers: list[str] = []

        def on_trigger_repaired(problem: str) -> None:
            repaired_triggers.append(problem)
            # Print it now, because the comparison may still fail.
            (self.stderr if options["json"] else self.stdout).write(f"Repaired: {problem}", str)

        try:
            with progress("Comparing users and points") as report:
                return verify(
                    repairing=options["repair"],
                    max_changes=options["max_changes"],
                    force=options["force"],
                    discard_vectors=options["discard_vectors"] or 0,
                    after_restore=options["after_restore"],
                    report=report,
                    on_trigger_repaired=on_trigger_repaired,
                )
        except UserFacingError as error:
            if isinstance(error, RepairRefused):
                self._report(error.verified, as_json=options["json"])
            if repaired_triggers:
                raise UserFacingError(
                    f"{one_line(error)} The triggers are repaired, but changes that they missed are not queued yet."
                ) from error
            raise

    def _report(self, verified: Verified, *, as_json: bool) -> None:
        note_counts(verified)
        if as_json:
            self.print_json(verified)
        else:
            self._print_result(verified)

    def _print_result(self, verified: Verified) -> None:
        for problem in verified.triggers:
            self.print_line(f"Not as migrated: {problem}")
        if verified.comparison_due_at is not None:
            self.print_line(comparison_due_warning(verified.comparison_due_at))
        if verified.restore_detected:
            self.print_line(verified.restore_detected)
        for found in verified.collections:
            self.print_line(_summary(found, verified.users))
            for kind, ids in found.examples.items():
                self.print_line(f"  {found.kinds[kind]:,} {kind}: {', '.join(ids)}{', ...' if found.kinds[kind] > len(ids) else ''}")
            if found.unique_vectors:
                self.print_line(
                    f"  {points_hold(found.unique_vectors)} the only copy of a user's vector: --repair deletes none without --discard-vectors."
                )
            if found.foreign_vectors:
                self.print_line(
                    f"  Another program wrote the {counted(found.foreign_vectors, 'foreign vector')}. To keep them:"
                    f" manage.py import_embeddings --from-collection {found.name}"
                )
        if verified.quarantined:
            self.print_line(
                f"{counted(verified.quarantined, 'user is', 'users are')} quarantined because Qdrant rejected their data. The admin shows the reasons and can retry them."
            )
        if verified.possibly_erased:
            self.print_line("Users without a point:")
        for user_id in verified.possibly_erased:
            self.print_line(user_id)
        if verified.queued is not None:
            self._print_repaired(verified)

    def _print_repaired(self, verified: Verified) -> None:
        if verified.queued or verified.deleted:
            self.print_line(
                f"{counted(verified.queued or 0, 'user')} queued, {counted(verified.deleted or 0, 'point')} deleted."
                " Run manage.py sync_qdrant --once to write the points."
            )
        if verified.restore_detected or any(found.unallocated for found in verified.collections):
            self.print_line(
                "Both stores have a new checkpoint: workers continue."
                if verified.checkpoint_written
                else "The new checkpoint is not in both stores: Qdrant rejected it or took too long. Workers stay stopped until it is. Run the command"
                " again."
            )


def _is_repairable(verified: Verified) -> bool:
    return bool(verified.differing or verified.restore_detected or verified.triggers or verified.comparison_due_at)


def _summary(found: VerifiedCollection, users: int) -> str:
    differing = counted(found.differing, "differs", "differ") if found.differing else "no differences"
    more = [
        f"{found.pending:,} pending" if found.pending else "",
        f"{found.quarantined:,} quarantined" if found.quarantined else "",
        f"{found.unallocated:,} with an unallocated version" if found.unallocated else "",
    ]
    return f"{found.name} ({found.state}): {counted(found.points, 'point')} of {counted(users, 'user')}, {', '.join([differing, *filter(None, more)])}."
