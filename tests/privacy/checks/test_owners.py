"""Checks of the declarations of columns."""

from collections.abc import Iterator

import pytest
from django.apps import apps
from django.contrib.auth import get_user_model
from django.core.checks import Error
from django.db import models
from django.test.utils import isolate_apps

from privacy.checks.columns import field_names, foreign_keys_to_users
from privacy.checks.owners import errors_of_files, errors_of_impersonal_models, errors_of_links, errors_of_ownership
from privacy.declarations import TableDeclaration
from privacy.registry import PersonalDataOwner, registry
from tests.privacy.checks.owner import Owner, declared
from tests.privacy.shelf import Shelf
from videos.models import Video


@pytest.fixture
def diary() -> Iterator[type[models.Model]]:
    with isolate_apps("privacy"):

        class Diary(models.Model):  # noqa: DJ008  # never shown
            text = models.TextField()
            readers = models.ManyToManyField("self")

            class Meta:
                app_label = "privacy"

        yield Diary


def errors(*owners: PersonalDataOwner, of: type[models.Model] | None = None) -> list[Error]:
    return list(errors_of_ownership([of] if of else [], owners))


def test_checks__a_field_without_an_owner(diary: type[models.Model]) -> None:
    (error,) = errors(Owner("diaries", {}), of=diary)
    assert error == Error(
        "privacy.Diary has fields without an owner of personal data: id, text, readers.",
        hint=(
            "Declare them in the tables of an owner in privacy/personal_data.py, which exports, anonymizes and erases them."
            " If no column can lead to a person, add the model to findme/impersonal_models.py with the reason."
        ),
        obj=diary,
        id="privacy.E001",
    )


def test_checks__a_field_with_two_owners() -> None:
    (error,) = errors(Owner("videos", {"videos.Video": {"status"}}), Owner("calls", {"videos.Video": {"status"}}))
    assert error == Error(
        "videos.Video.status has more than one owner of personal data: videos, calls.",
        hint="Keep it in one declaration of one owner.",
        id="privacy.E002",
    )


def test_checks__two_owners_for_two_fields_of_a_model() -> None:
    assert errors(Owner("videos", {"videos.Video": {"status"}}), Owner("calls", {"videos.Video": {"duration"}})) == []


def test_checks__an_owner_of_an_unknown_field() -> None:
    (error,) = errors(Owner("videos", {"videos.Video": {"status", "state"}}))
    assert error == Error(
        "The owner of the section 'videos' names the field 'videos.Video.state', which does not exist.",
        hint="Take it out of the tables of tests.privacy.checks.owner.Owner, or correct its name.",
        id="privacy.E003",
    )


@pytest.mark.parametrize("label", ["videos.Film", "films.Film", "film"])
def test_checks__an_owner_of_an_unknown_model(label: str) -> None:
    (error,) = errors(Owner("videos", {label: {"status"}}))
    assert error == Error(
        f"The owner of the section 'videos' names the model {label!r}, which does not exist.",
        hint="Take it out of the tables of tests.privacy.checks.owner.Owner, or correct its name.",
        id="privacy.E003",
    )


def test_checks__a_reverse_relation_is_not_a_field() -> None:
    (error,) = errors(Owner("profile", {"accounts.User": {"videos"}}))
    assert error.id == "privacy.E003"


def test_field_names__columns_and_many_to_many() -> None:
    assert {"password", "video", "groups", "user_permissions"} <= set(field_names(get_user_model()))


def test_registry__a_section_has_one_owner() -> None:
    taken = next(registry.owners)
    with pytest.raises(ValueError, match=f"^section {taken.section!r} has an owner: {type(taken).__qualname__}$"):
        registry.register(Owner(taken.section, {}))


def test_registry__store_names_are_unique(shelf: Shelf) -> None:
    with pytest.raises(ValueError, match=r"^store 'shelf' is registered: Shelf$"):
        registry.register_store(Shelf())


def test_checks__a_field_that_is_declared_twice_by_its_owner() -> None:
    owner = Owner("videos", {})
    owner.tables = {"videos.Video": TableDeclaration(links=(), data=(declared("status"), declared("status")))}
    (error,) = errors(owner)
    assert (error.id, error.msg) == ("privacy.E002", "videos.Video.status has more than one owner of personal data: videos, videos.")


def test_checks__a_link_by_an_unknown_field() -> None:
    (error,) = errors(Owner("videos", {"videos.Video": {"status"}}, videos_Video=["uploader"]))
    assert (error.id, error.msg) == (
        "privacy.E003",
        "The owner of the section 'videos' names the field 'videos.Video.uploader', which does not exist.",
    )


def test_checks__a_field_of_a_foreign_app_is_declared_in_accounts() -> None:
    (error,) = errors(of=apps.get_model("admin.LogEntry"))
    assert error.hint is not None
    assert "an owner in accounts/personal_data.py" in error.hint


def test_checks__some_fields_without_an_owner__does_not_propose_the_list_of_impersonal_models() -> None:
    (error,) = errors(Owner("videos", {"videos.Video": {"status"}}), of=Video)
    assert error.hint is not None
    assert "impersonal" not in error.hint


# --- Models without personal data -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "reason", "problem"),
    [
        ("films.Film", "none", "no installed app has this model"),
        ("auth.Group", " ", "it has no reason"),
        ("videos.Video", "films", "the model has an owner of personal data too"),
        ("matching.Match", "pairs", "the model refers to users (matched_user, user)"),
    ],
)
def test_impersonal_models__wrong_entry(label: str, reason: str, problem: str) -> None:
    (error,) = errors_of_impersonal_models({label: reason}, [Owner("videos", {"videos.Video": {"status"}})])
    assert error == Error(
        f"The entry {label!r} of IMPERSONAL_MODELS is wrong: {problem}.",
        hint="Correct it in findme/impersonal_models.py.",
        id="privacy.E006",
    )


def test_impersonal_models__right_entry() -> None:
    assert list(errors_of_impersonal_models({"auth.Group": "names of roles"}, [])) == []


# --- Links to users ---------------------------------------------------------------------------------------------------------------


def test_links__a_foreign_key_that_no_link_declares() -> None:
    match = apps.get_model("matching.Match")
    (error,) = errors_of_links([match], [Owner("matches", {"matching.Match": {"status"}}, matching_Match=["user"])])
    assert (error.id, error.msg) == ("privacy.E007", "matching.Match refers to users by matched_user, which no link declares.")
    assert error.hint == "Declare it in the links of the table in matching/personal_data.py."
    assert list(errors_of_links([match], [Owner("matches", {"matching.Match": {"status"}}, matching_Match=["user", "matched_user"])])) == []


def test_links__a_table_without_a_link() -> None:
    session = apps.get_model("sessions.Session")
    (error,) = errors_of_links([session], [Owner("profile", {"sessions.Session": {"session_data"}})])
    assert (error.id, error.msg) == ("privacy.E007", "No link declares how the rows of sessions.Session lead to a user.")


def test_foreign_keys_to_users__of_the_own_table_only() -> None:
    assert foreign_keys_to_users(apps.get_model("calls.VideoCall")) == {"caller", "callee"}
    assert foreign_keys_to_users(get_user_model()) == set()


# --- Files ------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def album() -> Iterator[type[models.Model]]:
    with isolate_apps("privacy"):

        class Album(models.Model):  # noqa: DJ008  # never shown
            cover = models.FileField()
            page = models.URLField()
            back_url = models.TextField()
            title = models.TextField()

            class Meta:
                app_label = "privacy"

        yield Album


def test_files__addresses_of_files_that_no_declaration_names(album: type[models.Model]) -> None:
    owner = Owner("albums", {})
    owner.tables = {"privacy.Album": TableDeclaration(links=(), data=(declared("cover", "page", "back_url", "title"),))}
    assert [(error.id, error.msg.split()[0]) for error in errors_of_files([album], [owner])] == [
        ("privacy.E008", "privacy.Album.cover"),
        ("privacy.E008", "privacy.Album.page"),
        ("privacy.E008", "privacy.Album.back_url"),
    ]
    named = (declared("cover", "page", "back_url", files="pictures"), declared("title"))
    owner.tables = {"privacy.Album": TableDeclaration(links=(), data=named)}
    assert list(errors_of_files([album], [owner])) == []
