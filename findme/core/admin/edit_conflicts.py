"""Detect that another session changed a row while a form was open (optimistic concurrency).

A change form contains a signed copy of the values that it was opened with. On POST they are compared with the current row, which the admin
has locked. ``updated_at`` is not compared: a login changes it, and some tables do not have it.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from django import forms
from django.core import signing
from django.core.exceptions import ValidationError

from findme.core.admin.form_values import describe_change, plain_value, shown_value

if TYPE_CHECKING:
    _ModelForm = forms.ModelForm[Any]
else:
    _ModelForm = forms.ModelForm

OPENED_WITH = "_opened_with"
"""Name of the hidden input with the signed values."""

NOT_COMPARABLE = "The original values of this page are missing or unreadable: nothing was saved. Check the values below and save again."


class ConflictCheckedForm(_ModelForm):
    """A model form that does not overwrite what another session saved after the form was opened.

    It writes only the fields that the user changed. An unchanged field keeps what the form cannot hold (microseconds, line endings, NULL).
    """

    _unchanged: frozenset[str] | set[str] = frozenset()
    """The fields that are not written. Known after the input is validated."""

    @cached_property
    def current_values(self) -> dict[str, Any]:
        """The values of the form's fields in the database, when this form object was created."""
        return {name: plain_value(field, self[name].initial) for name, field in self.fields.items()}

    @property
    def opened_with(self) -> str:
        """The signed values for the hidden input. Empty if there is no row or no field to change."""
        if self.instance._state.adding or not self.fields:
            return ""
        return signing.dumps(self.current_values, salt=self._salt, compress=True)

    @property
    def _salt(self) -> str:
        return f"{OPENED_WITH}.{self.instance._meta.label_lower}.{self.instance.pk}"

    @cached_property
    def changed_data(self) -> list[str]:
        """Leave out the fields that differ only in what a form cannot hold."""
        return [name for name in super().changed_data if not self._posts(name, self.current_values[name])]

    def _posts(self, name: str, value: Any) -> bool:
        """Return whether the user's valid input for the field equals ``value``."""
        cleaned = getattr(self, "cleaned_data", {})
        field = self.fields[name]
        return name in cleaned and plain_value(field, cleaned[name]) == shown_value(field, value)

    def _post_clean(self) -> None:
        if self.instance._state.adding:
            super()._post_clean()  # type: ignore[misc]  # not in the stubs: Django's hook after clean()
            return
        columns = {field.name: field.attname for field in self.instance._meta.concrete_fields if field.name in self.fields}
        before = {name: getattr(self.instance, column) for name, column in columns.items()}
        super()._post_clean()  # type: ignore[misc]
        self._unchanged = self.fields.keys() - set(self.changed_data)
        for name in before.keys() & self._unchanged:
            setattr(self.instance, columns[name], before[name])
        self._refuse_conflicts()

    def _save_m2m(self) -> None:
        """Save the changed lists only: an unchanged list may have entries that the form does not offer."""
        cleaned = self.cleaned_data
        self.cleaned_data = {name: value for name, value in cleaned.items() if name not in self._unchanged}
        super()._save_m2m()  # type: ignore[misc]  # not in the stubs
        self.cleaned_data = cleaned

    def _refuse_conflicts(self) -> None:
        try:
            opened_with = signing.loads(self.data.get(OPENED_WITH, ""), salt=self._salt)
        except signing.BadSignature:
            self.add_error(None, ValidationError(NOT_COMPARABLE, code="conflict"))
            return
        sentences = [self._conflict(name, opened_with.get(name)) for name in self.fields]
        if any(sentences):
            name = self.instance._meta.verbose_name
            changes = " ".join(filter(None, sentences))
            sentence = f"Another session changed this {name} after you opened this page: nothing was saved. {changes} Check and save again."
            self.add_error(None, ValidationError(sentence, code="conflict"))

    def _conflict(self, name: str, was: Any) -> str:
        """Return the message about one field. Empty if no change would be lost.

        A field that the user did not change then shows the new value. ``was`` is None for a field that the page did not have, because the user
        received more permissions after it was opened. The input of such a field is missing, not empty.
        """
        now, field = self.current_values[name], self.fields[name]
        if was == now or (was is not None and self._posts(name, now)):
            return ""
        is_changed_here = was is not None and not self._posts(name, was)
        if not is_changed_here:
            field.bound_data = _current  # type: ignore[method-assign]  # this form has its own copy of the field
        kept = "your value is kept below" if is_changed_here else "the new value is shown below"
        return f"{self[name].label}: {describe_change(field, was, now)}; {kept}."


def _current(data: Any, initial: Any) -> Any:  # noqa: ARG001  # as ``bound_data``
    """Replace ``Field.bound_data`` to show the current value instead of the input."""
    return initial
