import pytest
from django.urls import reverse

from accounts.models import User
from privacy.models.request_choices import State
from privacy.users import anonymized_email
from tests.factories import UserFactory, VideoFactory, now
from tests.privacy.requests.rows import request_in
from tests.support.staff import change_page, errors_of, save, signed_in, staff, superuser
from videos.models import Video

pytestmark = pytest.mark.django_db

LIST = reverse("admin:videos_video_changelist")
ADD = reverse("admin:videos_video_add")


@pytest.mark.parametrize("by", ["pk", "user_id"])
def test_search__by_uuid(by: str) -> None:
    video = VideoFactory.create_batch(3)[1]
    assert list(signed_in(superuser()).get(LIST, {"q": str(getattr(video, by))}).context["cl"].result_list) == [video]


def test_search__by_other_texts__finds_nothing() -> None:
    VideoFactory.create()
    response = signed_in(superuser()).get(LIST, {"q": "john"})
    assert list(response.context["cl"].result_list) == []
    assert b"&#x27;john&#x27; is not a UUID. Search for the user first: the page of the user links to this list." in response.content


def test_list__shows_names_only_with_permission_to_view_users() -> None:
    video = VideoFactory.create(user__full_name="Wilhelmina Quux")
    allowed = signed_in(staff("videos.view_video", "accounts.view_user")).get(LIST).content.decode()
    assert "Wilhelmina Quux" in allowed and reverse("admin:accounts_user_change", args=[video.user_id]) in allowed
    refused = signed_in(staff("videos.view_video")).get(LIST).content.decode()
    assert "Wilhelmina Quux" not in refused and str(video.user_id) in refused


def test_change__status_is_editable_and_facts_are_not() -> None:
    video, other = VideoFactory.create(duration=30), UserFactory.create()
    posted = {"status": "rejected", "rejection_reason": "No face can be seen.", "storage_url": video.storage_url}
    posted |= {"duration": "99", "user": str(other.pk), "metadata": "{}", "deleted_at_0": "2026-01-01", "verification_score": "1"}
    assert save(signed_in(superuser()), change_page(video), posted).status_code == 302
    changed = Video.objects.get()
    assert (changed.status, changed.rejection_reason) == ("rejected", "No face can be seen.")
    assert (changed.duration, changed.user_id, changed.metadata) == (30, video.user_id, video.metadata)
    assert (changed.deleted_at, changed.verification_score) == (None, video.verification_score)


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("duration", "121", "A video lasts from 1 to 120 seconds."),
        ("verification_score", "1.5", "A verification score is a number from 0 to 1."),
        ("user", "00000000-0000-4000-8000-000000000000", "Select a valid choice. That choice is not one of the available choices."),
    ],
)
def test_add__violating_a_constraint__is_refused(field: str, value: str, sentence: str) -> None:
    posted = {
        "user": str(UserFactory.create().pk),
        "storage_url": "s3://videos/1",
        "duration": "30",
        "file_size": "1000",
        "status": "processing",
    }
    client = signed_in(superuser())
    assert errors_of(client.post(ADD, posted | {field: value})) == {field: [sentence]}
    assert client.post(ADD, posted).status_code == 302
    assert Video.objects.get().metadata == {}


@pytest.mark.parametrize("kind", ["deleted", "anonymized"])
def test_add__of_a_removed_user(kind: str) -> None:
    posted = {"user": str(UserFactory.create(**{kind: True}).pk), "storage_url": "s3://videos/1", "duration": "30", "file_size": "1000"}
    response = signed_in(superuser()).post(ADD, posted | {"status": "processing"})
    assert errors_of(response) == {"user": ["This user was deleted or anonymized: their videos can be neither added nor changed."]}
    assert not Video.objects.exists()


@pytest.mark.parametrize("kind", ["deleted", "anonymized"])
def test_change__of_a_removed_user(kind: str) -> None:
    video = VideoFactory.create(storage_url="s3://videos/1")
    User.objects.filter(pk=video.user_id).update(
        deleted_at=now(), **{"email": anonymized_email(video.user_id)} if kind == "anonymized" else {}
    )
    response = save(signed_in(superuser()), change_page(video), {"status": "rejected", "storage_url": "s3://videos/2"})
    assert errors_of(response) == {"__all__": ["This user was deleted or anonymized: their videos can be neither added nor changed."]}
    assert Video.objects.get().storage_url == "s3://videos/1"


def test_add_and_change__of_a_restricted_user__only_for_an_approved_rectification() -> None:
    video = VideoFactory.create(storage_url="s3://videos/1")
    person = User.objects.get(pk=video.user_id)
    User.objects.filter(pk=person.pk).update(restricted_at=now())
    refusal = ["This user is restricted: their videos can be added and changed only for their own approved request for a rectification."]
    client, posted = signed_in(superuser()), {"status": "rejected", "storage_url": "s3://videos/2"}
    assert errors_of(save(client, change_page(video), posted)) == {"__all__": refusal}
    new = {"user": str(person.pk), "storage_url": "s3://videos/3", "duration": "30", "file_size": "1000", "status": "processing"}
    assert errors_of(client.post(ADD, new)) == {"user": refusal}
    request_in(State.APPROVED, kind="rectification", user_id=person.pk)
    assert save(client, change_page(video), posted).status_code == 302
    assert Video.objects.get().storage_url == "s3://videos/2"
