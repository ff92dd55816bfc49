from __future__ import annotations

from functools import partial
from itertools import count
from typing import Any

import pytest
from sqlalchemy import MetaData, create_engine

from mfakit.storage.sqlalchemy import SQLAlchemyStore, account_table
from mfakit.testing import StoreContract
from servers.postgres import Postgres


@pytest.fixture(scope="session")
def postgres():
    server = Postgres()
    server.start()
    yield server
    server.close()


_n = count()


class TestSQLite(StoreContract):
    @pytest.fixture(autouse=True)
    def _d(self, tmp_path):
        self.d = tmp_path

    def make_store(self):
        e = create_engine(f"sqlite:///{self.d}/{next(_n)}.db")
        with e.connect() as c:
            c.exec_driver_sql("PRAGMA journal_mode=WAL")
        s = SQLAlchemyStore(e)
        s.create_table()
        return s


class TestPG(StoreContract):
    @pytest.fixture(autouse=True)
    def _d(self, postgres):
        self.e = create_engine(postgres.url(driver="postgresql+psycopg"))
        yield
        self.e.dispose()

    def make_store(self):
        s = SQLAlchemyStore(self.e, account_table(MetaData(), f"t{next(_n)}"))
        s.create_table()
        return s
