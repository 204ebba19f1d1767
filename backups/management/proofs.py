"""Options and output of the commands that prove a backup."""

from __future__ import annotations

from django.core.management.base import CommandParser

from backups.proof.deep import Proof
from findme.core.commands.arguments import seconds
from findme.core.plurals import counted
from vectorstore.snapshots.repository import SECONDS


def add_servers(parser: CommandParser) -> None:
    parser.add_argument(
        "--node", action="append", default=[], metavar="URL", help="in a cluster: the REST URL of a node (repeat it for every node)"
    )
    parser.add_argument("--wait", type=seconds, default=SECONDS, metavar="SECONDS", help="how long a server may take (default %(default)g)")


def describe_proof(name: str, proof: Proof) -> list[str]:
    """Return what was restored and compared, a line each."""
    lines = [
        f"PostgreSQL: {counted(proof.rows, 'row')} of {counted(proof.tables, 'table')}, counts and digests as in the manifest.",
        f"Constraints: {proof.constraints:,}, and all of them hold.",
    ]
    if proof.applied_migrations:
        lines.append(f"{counted(len(proof.applied_migrations), 'migration')} applied: the backup is of an earlier release.")
    if proof.not_validated:
        lines.append(f"NOT VALID in the backup: {', '.join(proof.not_validated)}.")
    if proof.without_owners:
        lines.append(f"Owners and grants were not restored: {proof.without_owners}.")
    lines.append(
        f"pg_amcheck did not run: {proof.without_page_check}." if proof.without_page_check else "pg_amcheck found no damaged page."
    )
    return [*lines, _vector_store_line(proof), f"{name} is proven. A restore takes {proof.restore_seconds:.1f} seconds here."]


def _vector_store_line(proof: Proof) -> str:
    agreed = f"{counted(proof.points, 'point')} equal to PostgreSQL"
    if not proof.is_from_snapshot:
        return f"Qdrant: {agreed}, built from PostgreSQL."
    return f"Qdrant: {agreed}. Of the snapshot, {counted(proof.removed, 'point')} differed, and {proof.written:,} were written."
