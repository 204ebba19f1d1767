import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from tests.factories import ProfileEmbeddingFactory
from tests.support.staff import signed_in, superuser

pytestmark = pytest.mark.django_db

LIST = reverse("admin:vectorstore_profileembedding_changelist")


def test_list__reads_no_vectors() -> None:
    ProfileEmbeddingFactory.create()
    client = signed_in(superuser())
    with CaptureQueriesContext(connection) as captured:
        page = client.get(LIST).content.decode()
    assert "52.5200, 13.4050" in page or "48.8570, 2.3520" in page or "51.5070, -0.1280" in page
    assert "books, hiking" in page
    assert not any('"vector"' in query["sql"] for query in captured.captured_queries)


def test_page__shows_the_first_numbers_of_the_vector() -> None:
    embedding = ProfileEmbeddingFactory.create(location=None, seed=1)
    page = signed_in(superuser()).get(reverse("admin:vectorstore_profileembedding_change", args=[embedding.pk])).content.decode()
    first = ", ".join(f"{number:.4f}" for number in embedding.vector[:8])
    assert f"{first} … (512 numbers)" in page and f"{embedding.vector[8]:.4f}, " not in page


def test_page__post_and_add__are_forbidden() -> None:
    embedding = ProfileEmbeddingFactory.create()
    client = signed_in(superuser())
    assert client.post(reverse("admin:vectorstore_profileembedding_change", args=[embedding.pk]), {"model": "x"}).status_code == 403
    assert client.get(reverse("admin:vectorstore_profileembedding_add")).status_code == 403


def test_search__user_id__finds_the_embedding() -> None:
    embedding = ProfileEmbeddingFactory.create_batch(3)[1]
    assert list(signed_in(superuser()).get(LIST, {"q": str(embedding.pk)}).context["cl"].result_list) == [embedding]
