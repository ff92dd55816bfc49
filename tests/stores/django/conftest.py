"""Django, set up once for the tests of this folder; a file of its own for each process."""

from __future__ import annotations

import django_project

django_project.configure({"default": django_project.new_sqlite()})
