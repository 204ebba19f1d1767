from __future__ import annotations

from typing import Any

import pytest

from findme.core.db.constraints import ForeignKeyConstraint

KEY: dict[str, Any] = {
    "columns": ["user_id"],
    "to_table": "users",
    "to_columns": ["id"],
    "on_delete": "CASCADE",
    "name": "rows_user_id_fkey",
}


def test_foreign_key__is_rebuilt_from_its_deconstruction() -> None:
    key = ForeignKeyConstraint(**KEY, violation_error_message="Nobody.")
    path, args, kwargs = key.deconstruct()
    assert path == "findme.core.db.constraints.ForeignKeyConstraint"
    assert ForeignKeyConstraint(*args, **kwargs) == key


@pytest.mark.parametrize("change", [{"on_delete": "SET NULL"}, {"columns": ["other_id"]}, {"to_table": "people"}, {"name": "other"}])
def test_foreign_key__differs_by_each_of_its_parts(change: dict[str, Any]) -> None:
    assert ForeignKeyConstraint(**KEY) != ForeignKeyConstraint(**KEY | change)
    assert ForeignKeyConstraint(**KEY) != "rows_user_id_fkey"


def test_foreign_key__columns_on_both_sides_are_as_many() -> None:
    with pytest.raises(
        ValueError, match=r"^rows_user_id_fkey: \['a', 'b'\] cannot refer to \['id'\]: the lists differ in length or are empty$"
    ):
        ForeignKeyConstraint(**KEY | {"columns": ["a", "b"]})


def test_foreign_key__on_delete_is_one_that_is_known() -> None:
    with pytest.raises(ValueError, match=r"^rows_user_id_fkey: on_delete is 'EXPLODE', and must be one of CASCADE, SET NULL, NO ACTION$"):
        ForeignKeyConstraint(**KEY | {"on_delete": "EXPLODE"})
