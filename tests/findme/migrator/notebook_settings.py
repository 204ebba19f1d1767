"""The tests' settings with the notebook among the apps."""

from tests.settings import *  # noqa: F403
from tests.settings import IMPERSONAL_MODELS, INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.findme.migrator.notebook"]
IMPERSONAL_MODELS = IMPERSONAL_MODELS | {"notebook.Note": "a text of a test"}
