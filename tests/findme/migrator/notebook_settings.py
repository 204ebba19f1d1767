"""The tests' settings with the notebook among the apps."""

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.findme.migrator.notebook"]
