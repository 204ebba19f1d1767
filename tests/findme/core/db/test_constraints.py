from __future__ import annotations

from typing import Any

import pytest
from django.apps import apps
from django.db import models

from findme.core.db.constraints import ForeignKeyConstraint, foreign_key
from matching.models import Match

KEY: dict[str, Any] = {"columns": ["user_id"], "to_table": "users", "on_delete": "CASCADE", "name": "rows_user_id_fkey"}


def test_foreign_key__is_rebuilt_from_its_deconstruction() -> None:
    key = ForeignKeyConstraint(**KEY, violation_error_message="No such user.")
    path, args, kwargs = key.deconstruct()
    assert path == "findme.core.db.constraints.ForeignKeyConstraint"
    assert ForeignKeyConstraint(*args, **kwargs) == key


@pytest.mark.parametrize("change", [{"on_delete": "SET NULL"}, {"columns": ["other_id"]}, {"to_table": "videos"}, {"name": "other"}])
def test_foreign_key__differs_by_each_of_its_parts(change: dict[str, Any]) -> None:
    assert ForeignKeyConstraint(**KEY) != ForeignKeyConstraint(**KEY | change)
    assert ForeignKeyConstraint(**KEY) != "rows_user_id_fkey"


def test_foreign_key__same_number_of_columns_on_both_sides() -> None:
    with pytest.raises(
        ValueError, match=r"^rows_user_id_fkey: \['a', 'b'\] cannot refer to \['id'\]: the lists differ in length or are empty$"
    ):
        ForeignKeyConstraint(**KEY | {"columns": ["a", "b"]})


def test_foreign_key__unknown_on_delete_is_rejected() -> None:
    with pytest.raises(ValueError, match=r"^rows_user_id_fkey: on_delete is 'EXPLODE' and must be one of CASCADE, SET NULL, NO ACTION$"):
        ForeignKeyConstraint(**KEY | {"on_delete": "EXPLODE"})


def test_foreign_key__refers_to_the_id_by_default() -> None:
    assert ForeignKeyConstraint(**KEY) == ForeignKeyConstraint(**KEY, to_columns=["id"])
    assert ForeignKeyConstraint(**KEY).deconstruct()[2] == KEY | {"to_columns": ["id"]}


def test_foreign_key__default_message_names_the_model_it_refers_to() -> None:
    expected = f"There is no such {Match._meta.verbose_name}."
    assert ForeignKeyConstraint(**KEY | {"to_table": "matches"}).get_violation_error_message() == expected
    assert ForeignKeyConstraint(**KEY, violation_error_message="No such user.").get_violation_error_message() == "No such user."
    assert ForeignKeyConstraint(**KEY | {"to_table": "rows"}).get_violation_error_message() == "There is no such rows."


@pytest.mark.parametrize(
    ("field", "kind", "options"),
    [
        (foreign_key("rows.Row", related_name="rows"), models.ForeignKey, {"db_index": False}),
        (foreign_key("rows.Row", related_name="rows", null=True), models.ForeignKey, {"db_index": False, "null": True, "blank": True}),
        (foreign_key("rows.Row", related_name="rows", primary_key=True), models.OneToOneField, {"primary_key": True}),
    ],
)
def test_foreign_key__field_has_no_constraint_or_index_itself(
    field: models.Field[Any, Any], kind: type[models.Field[Any, Any]], options: dict[str, Any]
) -> None:
    common = {"to": "rows.row", "related_name": "rows", "on_delete": models.DO_NOTHING, "db_constraint": False}
    assert type(field) is kind
    assert field.deconstruct()[3] == common | options


def test_foreign_key__each_field_has_a_constraint() -> None:
    fields = [
        field
        for model in apps.get_models()
        for field in model._meta.local_fields
        if isinstance(field, models.ForeignKey) and "db_constraint" in field.deconstruct()[3]
    ]
    assert len(fields) == 12
    for field in fields:
        keys = [one for one in field.model._meta.constraints if isinstance(one, ForeignKeyConstraint) and field.column in one.columns]
        assert {key.to_table for key in keys} == {field.related_model._meta.db_table}, field
