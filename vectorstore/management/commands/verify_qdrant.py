"""Compare both stores, and have what differs put right."""

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
        "Compare every person with their point in Qdrant, in every collection that is written. Changes nothing without --repair."
        " Exit 0: they agree, but for what is on its way; 1: something differs, or users are quarantined; 2: it could not be done."
    )
    after_interrupt = "Run it again: it compares from the beginning. What --repair did before stays done."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--repair", action="store_true", help="put whoever differs on the queue, and delete points that are nobody's")
        parser.add_argument(
            "--max-changes",
            type=number,
            metavar="N",
            help="the most that a repair may change (default: 100, or 5 %% of the points if that is more)",
        )
        parser.add_argument("--force", action="store_true", help="repair whatever differs, however much it is")
        add_discard_vectors(parser)
        add_after_restore(parser)
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *args: Any, **options: Any) -> None:
        if not options["repair"] and (options["force"] or options["max_changes"] is not None):
            raise UserFacingError("--max-changes and --force say how much a repair may change: add --repair, or leave them out.")
        if not options["repair"] and options["discard_vectors"] is not None:
            raise UserFacingError("--discard-vectors says what a repair may delete: add --repair, or leave it out.")
        if not options["repair"] and options["after_restore"]:
            raise UserFacingError("--after-restore says what a repair may write: add --repair, or leave it out.")
        verified = self._verify(**options)
        self._report(verified, as_json=options["json"])
        if verified.queued is None and not options["json"] and _is_repairable(verified):
            discard = f" --discard-vectors {verified.unique_vectors}, or store those vectors first" if verified.unique_vectors else ""
            self.print_line(f"To put this right: manage.py verify_qdrant --repair{discard}")
        if not verified.clean:
            self.exit_with_findings()

    def _verify(self, **options: Any) -> Verified:
        mended: list[str] = []

        def on_mended(problem: str) -> None:
            mended.append(problem)
            (self.stderr if options["json"] else self.stdout).write(f"Mended: {problem}", str)  # at once: the comparison may fail

        try:
            with progress("Comparing people and points") as report:
                return verify(
                    repairing=options["repair"],
                    max_changes=options["max_changes"],
                    force=options["force"],
                    discard_vectors=options["discard_vectors"] or 0,
                    after_restore=options["after_restore"],
                    report=report,
                    on_mended=on_mended,
                )
        except UserFacingError as error:
            if isinstance(error, RepairRefused):
                self._report(error.verified, as_json=options["json"])
            if mended:
                raise UserFacingError(
                    f"{one_line(error)} The triggers are mended, but changes that they missed are not queued yet."
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
            self.print_line(_sentence(found, verified.users))
            for kind, ids in found.examples.items():
                self.print_line(f"  {found.kinds[kind]:,} {kind}: {', '.join(ids)}{', ...' if found.kinds[kind] > len(ids) else ''}")
            if found.unique_vectors:
                self.print_line(
                    f"  {points_hold(found.unique_vectors)} the only copy of a user's vector: --repair deletes none of them by itself."
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
                f"{counted(verified.queued or 0, 'person', 'people')} queued, {counted(verified.deleted or 0, 'point')} deleted."
                " manage.py sync_qdrant --once does the rest."
            )
        if verified.restore_detected or any(found.unallocated for found in verified.collections):
            self.print_line(
                "Both stores have a new checkpoint: workers go on."
                if verified.checkpoint_written
                else "The new checkpoint is not in both stores, since Qdrant does not take it or took too long, and workers do not go on before it is:"
                " run it again."
            )


def _is_repairable(verified: Verified) -> bool:
    return bool(verified.differing or verified.restore_detected or verified.triggers or verified.comparison_due_at)


def _sentence(found: VerifiedCollection, people: int) -> str:
    differing = counted(found.differing, "differs", "differ") if found.differing else "all as they are to be"
    more = [
        f"{found.pending:,} pending" if found.pending else "",
        f"{found.quarantined:,} quarantined" if found.quarantined else "",
        f"{found.unallocated:,} of a version that was never allocated" if found.unallocated else "",
    ]
    return f"{found.name} ({found.state}): {counted(found.points, 'point')} of {counted(people, 'person', 'people')}, {', '.join([differing, *filter(None, more)])}."
