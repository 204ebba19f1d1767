"""Unusual requests for the admin, generated from a seed: list parameters, forms, actions and URLs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any
from urllib.parse import quote, urlencode

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.db.models import Field, Model
from django.urls import reverse

from privacy.admin.actions import ACTIONS

ODD = (
    *(
        "",
        " ",
        "x",
        "\0",
        "a\0b",
        "0",
        "-1",
        "1",
        "1.5",
        "1e400",
        "nan",
        "infinity",
        "-infinity",
        "None",
        "null",
        "true",
        "on",
        "[]",
        "{",
        "{}",
    ),
    *("99999999999999999999", "-99999999999999999999", "2147483648", "9" * 400, "١٢", "1_000", " 1 ", "0x10", "1,2", ",", ",,x", "a,\0"),
    *(
        "0000-00-00",
        "2026-13-45",
        "0001-01-01",
        "9999-12-31",
        "99999-01-01",
        "2026-02-30 25:61",
        "2026-01-01T00:00:00+99:99",
        "24:00",
        "now",
    ),
    *(
        "%",
        "_",
        "\\",
        "'",
        '"',
        "'; --",
        '"><script>alert(1)</script>',
        "{{ 7|add:7 }}",
        "../../etc/passwd",
        "//evil.example/",
        "javascript:1",
    ),
    *("é", "e\u0301", "\u202e", "\ufeff", "😀", "a" * 300, "b" * 20_000, "00000000-0000-0000-0000-000000000000", "{" + "0" * 32 + "}"),
    *(
        "0" * 31,
        "0" * 33,
        "urn:uuid:00000000-0000-0000-0000-000000000000",
        "pk",
        "id",
        "__",
        "user__",
        "-",
        ".",
        "-.-1.0",
        "1.-2",
        "admin",
        "?a=b",
    ),
)
RAW = ("%FF", "%ED%A0%80", "%C0%80", "%", "%zz", "+%00")
"""Bytes in a URL that are not UTF-8."""
LOOKUPS = (
    *(
        "exact",
        "iexact",
        "in",
        "gt",
        "gte",
        "lt",
        "lte",
        "isnull",
        "contains",
        "icontains",
        "startswith",
        "istartswith",
        "endswith",
        "iendswith",
    ),
    *("range", "regex", "iregex", "search", "unaccent", "unaccent__icontains", "trigram_similar", "trigram_word_similar", "lower", "upper"),
    *(
        "date",
        "date__gt",
        "year",
        "year__gt",
        "year__in",
        "iso_year",
        "month",
        "day",
        "week",
        "week_day",
        "quarter",
        "time",
        "hour",
        "second__lt",
    ),
    *(
        "len",
        "len__gt",
        "0",
        "511__gt",
        "0_1",
        "contained_by",
        "overlap",
        "has_key",
        "has_any_keys",
        "a__b",
        "isempty",
        "pk",
        "id",
        "id__exact",
    ),
    *("email", "email__startswith", "password__startswith", "is_superuser", "user__id__exact", "", "_", "exact__exact", "nonsense"),
)
CONTROLS = (
    "q",
    "p",
    "o",
    "e",
    "all",
    "_facets",
    "_popup",
    "_to_field",
    "_source_model",
    "_changelist_filters",
    "state",
    "index",
    "csrfmiddlewaretoken",
)


@dataclass(frozen=True, slots=True)
class Input:
    """One request. ``data`` is None for GET."""

    address: str
    data: dict[str, list[str]] | None = None
    files: dict[str, Any] = field(default_factory=dict)


def page(model: type[Model], name: str, *arguments: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{name}", args=arguments)


class Inputs:
    """The inputs of one seed. ``rows`` has a row of every model in the admin."""

    def __init__(self, seed: int, rows: dict[type[Model], Any]) -> None:
        self.random = Random(seed)
        self.rows = rows
        self.models = sorted(rows, key=lambda model: model._meta.label)

    def lists(self, number: int) -> Iterator[Input]:
        for _ in range(number):
            model = self.random.choice(self.models)
            yield Input(f"{page(model, 'changelist')}?{self._query(model)}")

    def actions(self, number: int) -> Iterator[Input]:
        for _ in range(number):
            model = self.random.choice(self.models)
            names = self._actions(model)
            data = {
                "action": [self.random.choice((*names, *names, self._value()))],
                "_selected_action": self._keys(model),
                **self._some(("index", "select_across", "_save", "_popup", "_to_field", "form-TOTAL_FORMS", "q")),
            }
            query = f"?{self._query(model)}" if self.random.random() < 0.3 else ""
            yield Input(page(model, "changelist") + query, data)

    def pages(self, number: int) -> Iterator[Input]:
        """Return URLs of rows, privacy actions and Django's views with unusual keys and parameters."""
        for _ in range(number):
            query = self._query(self.random.choice(self.models))
            yield Input(f"{self._page()}?{query}" if self.random.random() < 0.7 else self._page())

    def forms(self, number: int, posted: dict[tuple[type[Model], str], dict[str, Any]]) -> Iterator[Input]:
        """Return the data that a page posts (``posted``, by model and URL) with some values replaced."""
        for _ in range(number):
            (_model, address), values = self.random.choice(list(posted.items()))
            data = {name: value if isinstance(value, list) else [value] for name, value in values.items()}
            for name in self.random.sample(sorted(data), min(len(data), self.random.randint(0, 3))):
                data[name] = [self._value() for _ in range(self.random.choice((0, 1, 1, 1, 2)))]
            data |= self._some(
                ("_popup", "_to_field", "_continue", "_addanother", "_saveasnew", "_save", "_source_model", "person", "post")
            )
            yield Input(f"{address}?{self._query(_model)}" if self.random.random() < 0.2 else address, data)

    def _value(self) -> str:
        value = self.random.choice(ODD)
        return value if self.random.random() < 0.8 else value + self.random.choice(ODD)

    def _some(self, names: tuple[str, ...]) -> dict[str, list[str]]:
        return {name: [self._value()] for name in self.random.sample(names, self.random.randint(0, 2))}

    def _query(self, model: type[Model]) -> str:
        pairs = [(self._parameter(model), self._value()) for _ in range(self.random.choice((1, 1, 1, 2, 3)))]
        raw = f"&{quote(self._parameter(model))}={self.random.choice(RAW)}" if self.random.random() < 0.1 else ""
        return urlencode(pairs) + raw

    def _parameter(self, model: type[Model]) -> str:
        if self.random.random() < 0.25:
            return self.random.choice(CONTROLS)
        names = [one.name for one in model._meta.get_fields() if isinstance(one, Field)] + ["pk", "nonsense"]
        lookup = self.random.choice(LOOKUPS) if self.random.random() < 0.85 else ""
        return f"{self.random.choice(names)}__{lookup}" if lookup else self.random.choice(names)

    def _actions(self, model: type[Model]) -> list[str]:
        actions: Any = admin.site._registry[model].actions or ()
        return [one.__name__ for one in actions] or ["delete_selected"]

    def _keys(self, model: type[Model]) -> list[str]:
        keys = [str(self.rows[model].pk), *(self._value() for _ in range(2))]
        return self.random.sample(keys, self.random.randint(0, 3))

    def _page(self) -> str:
        model = self.random.choice(self.models)
        key = quote(self._value() if self.random.random() < 0.6 else str(self.rows[model].pk), safe="")
        start = page(model, "changelist")
        return self.random.choice(
            [
                *(f"{start}{key}/{end}" for end in ("change/", "history/", "delete/", "password/", "")),
                f"{start}add/",
                f"{page(LogEntry, 'changelist')}{key}/change/",
                f"/admin/r/{self.random.randint(0, 20)}/{key}/",
                f"/admin/r/{key}/{key}/",
                "/admin/autocomplete/",
                f"/admin/autocomplete/?app_label={model._meta.app_label}&model_name={model._meta.model_name}&field_name=user&term={key}",
                f"/admin/{key}/",
                f"/admin/jsi18n/?language={key}",
                f"/admin/login/?next={key}",
                f"/admin/password_change/{key}",
                f"/admin/vectorstore/quarantineduser/state/?{key}",
                f"/admin/accounts/user/privacy/{self.random.choice([*ACTIONS, key])}/?user={key}&user={self.rows[model].pk}",
                f"/{key}",
            ]
        )
