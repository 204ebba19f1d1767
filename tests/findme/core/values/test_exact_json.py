"""JSON numbers are written with the same digits that were read."""

from __future__ import annotations

import copy
import json
import math
import pickle
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import DataError, connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from findme.core.values.exact_json import ExactDecoder, ExactEncoder, ExactNumber, LosslessEncoder, RawJSON, fits_numeric, loads
from findme.core.values.json_fields import ExactJSONField, ExactJSONFormField
from privacy.archive.zip_file import as_json
from tests.factories import VideoFactory
from videos.models import Video

NUMBERS = [
    *(
        "12345678901234567.891",
        "12345678901234567890.123456789",
        "1.10",
        "0.1",
        "-0.0",
        "-0",
        "1e400",
        "1E-400",
        "1e22",
        "0.30000000000000004",
    ),
    *("9" * 5000, f"-{'9' * 5000}", f"0.{'1' * 5000}", "18446744073709551616"),
]
DEEP = f"{'[' * 3000}1.10{']' * 3000}"

digits = st.text("0123456789", min_size=1, max_size=40)
numbers = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["", "-"]),
    digits.map(lambda text: text.lstrip("0") or "0"),
    st.just("") | digits.map(".{}".format),
    st.just("") | st.integers(-300, 300).map("e{}".format),
)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
documents = st.recursive(
    numbers | texts.map(json.dumps) | st.sampled_from(["null", "true", "false"]),
    lambda inner: (
        st.lists(inner, max_size=4).map(lambda items: f"[{','.join(items)}]")
        | st.dictionaries(texts.map(json.dumps), inner, max_size=4).map(
            lambda items: f"{{{','.join(f'{key}:{value}' for key, value in items.items())}}}"
        )
    ),
)


@pytest.fixture
def video(db: None) -> Video:
    return VideoFactory.create()


def store(video: Video, document: str) -> str:
    """Store the document by SQL, as another service does. Return PostgreSQL's text."""
    with connection.cursor() as cursor:
        cursor.execute("UPDATE videos SET metadata = %s::jsonb WHERE id = %s RETURNING metadata::text", [document, video.pk])
        return str(cursor.fetchone()[0])


def stored(video: Video) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT metadata::text FROM videos WHERE id = %s", [video.pk])
        return str(cursor.fetchone()[0])


@pytest.mark.parametrize("text", NUMBERS)
def test_numbers__are_written_as_they_were_read(text: str) -> None:
    document = f'{{"price": [{text}]}}'
    assert json.dumps(json.loads(document, cls=ExactDecoder), cls=ExactEncoder) == document
    (found,) = json.loads(document, cls=ExactDecoder)["price"]
    assert math.isclose(found, float(text)) or found == float(text)
    assert json.dumps(pickle.loads(pickle.dumps(found)), cls=ExactEncoder) == json.dumps(copy.deepcopy(found), cls=ExactEncoder) == text


@pytest.mark.parametrize(("text", "kind"), [("1.5", float), ("15", int), ("1.50", ExactNumber)])
def test_numbers__with_the_same_digits_are_python_numbers(text: str, kind: type) -> None:
    assert type(json.loads(text, cls=ExactDecoder)) is kind


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | st.integers() | st.booleans(), inner, max_size=3),
)


@given(value=plain, indent=st.sampled_from([None, 2, 0]), is_ascii=st.booleans())
def test_encoder__of_plain_values_is_pythons(value: Any, indent: int | None, is_ascii: bool) -> None:
    options: dict[str, Any] = {"indent": indent, "ensure_ascii": is_ascii}
    assert json.dumps(value, cls=ExactEncoder, **options) == json.dumps(value, **options)


def test_encoder__value_that_is_no_json_is_rejected_as_by_python() -> None:
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(ValueError, match="Circular"):
        json.dumps(circle, cls=ExactEncoder)
    with pytest.raises(ValueError, match="not JSON compliant"):
        json.dumps([math.nan], cls=ExactEncoder, allow_nan=False)
    with pytest.raises(TypeError):
        json.dumps([object()], cls=ExactEncoder)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(document=documents)
def test_save__leaves_every_digit_and_an_export_has_it(video: Video, document: str) -> None:
    text = store(video, document)
    found = Video.objects.get(pk=video.pk)
    found.file_size += 1
    found.save()
    assert stored(video) == text
    assert json.dumps(found.metadata, cls=ExactEncoder, ensure_ascii=False) == text
    assert json.loads(as_json({"metadata": found.metadata}), parse_float=str, parse_int=str)["metadata"] == json.loads(
        text, parse_float=str, parse_int=str
    )


@pytest.mark.parametrize("document", [*NUMBERS, "null", DEEP, f'{{"a": {DEEP}}}', "1" + "0" * 131_071, f"0.{'1' * 16_383}"])
def test_save__value_that_python_cannot_hold(video: Video, document: str) -> None:
    text = store(video, document)
    found = Video.objects.get(pk=video.pk)
    found.status = "verified"
    found.save()
    assert stored(video) == text
    assert text in as_json([found.metadata])


def test_dumpdata__copies_the_digits_to_another_database(video: Video, tmp_path: Path) -> None:
    text = store(video, '{"price": 12345678901234567.891, "zeros": 1.10, "large": 1e400}')
    path = tmp_path / "dump.json"
    with path.open("w") as file:
        call_command("dumpdata", "accounts.User", "videos", stdout=file)
    assert "12345678901234567.891" in path.read_text()
    Video.objects.all().delete()
    call_command("loaddata", str(path), stdout=StringIO())
    assert stored(video) == text


def test_form__saving_unchanged_values_changes_nothing() -> None:
    field: Any = ExactJSONField().formfield()
    assert isinstance(field, ExactJSONFormField)
    document = '{"price": 12345678901234567.891, "zeros": 1.10, "long": ' + "9" * 5000 + "}"
    shown = field.prepare_value(loads(document))
    assert shown == document
    assert not field.has_changed(loads(document), shown)
    assert field.has_changed(loads(document), shown.replace("1.10", "1.1"))
    assert json.dumps(field.clean(shown), cls=ExactEncoder) == document


def test_form__document_that_is_too_deep_is_rejected_with_a_message() -> None:
    field: Any = ExactJSONField().formfield()
    assert field.prepare_value(loads(DEEP)) == DEEP
    assert not field.has_changed(loads(DEEP), DEEP)
    assert str(field.bound_data(DEEP, None)) == DEEP
    with pytest.raises(ValidationError, match="too many levels"):
        field.clean(DEEP)


def test_loads__document_that_is_too_deep_keeps_its_text() -> None:
    assert isinstance(loads(DEEP), RawJSON)
    assert json.dumps({"a": loads(DEEP)}, cls=ExactEncoder) == f'{{"a": {DEEP}}}'


def test_as_json__value_without_a_json_form_is_text() -> None:
    written = as_json({"odd": [math.nan, math.inf, -math.inf, Decimal("1.10"), 10**5000], "half": "a\ud800b", "\udfff": "😀"})
    assert written.encode()
    found = json.loads(written, parse_int=str, parse_float=str)
    assert found == {"odd": ["NaN", "Infinity", "-Infinity", "1.10", "1" + "0" * 5000], "half": "a\ud800b", "\udfff": "😀"}
    assert '"a\\ud800b"' in written


def test_lossless_encoder__of_great_depth() -> None:
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    assert json.dumps(deep, cls=LosslessEncoder) == "[" * 5001 + "]" * 5001


LIMITS = [
    "1e131071",
    "1e131072",
    "0.1e131072",
    "0.1e131073",
    "1e-16383",
    "1e-16384",
    "1.10e-16382",
    "0e200000",
    "0e-16384",
    "0.00e-16381",
    "1e99999999999",
]


@pytest.mark.parametrize("text", [*LIMITS, "1" * 131_072, "1" * 131_073])
def test_full_clean__and_postgresql_agree_on_numbers(video: Video, text: str) -> None:
    video.metadata = loads(f"[{text}]")
    try:
        with transaction.atomic():
            store(video, f"[{text}]")
            is_stored = True
    except DataError:
        is_stored = False
    assert fits_numeric(text) == is_stored
    if is_stored:
        video.full_clean()
    else:
        with pytest.raises(ValidationError) as raised:
            video.full_clean()
        assert raised.value.message_dict == {"metadata": ["This has a number with more digits than PostgreSQL can store."]}
