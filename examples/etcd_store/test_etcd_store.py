"""Prove the store: ETCD=http://127.0.0.1:2379 pytest test_etcd_store.py."""

import os
import uuid
from functools import partial

from etcd_store import EtcdStore

from mfakit.testing import StoreContract

ENDPOINTS = os.environ.get("ETCD", "http://127.0.0.1:2379").split(",")


class TestEtcdStore(StoreContract):
    SECONDS = 2  # for each race: a write takes milliseconds here

    def make_store(self):
        return EtcdStore(ENDPOINTS, prefix=f"mfakit-check/{uuid.uuid4()}/")

    def opener(self, store):
        return partial(EtcdStore, ENDPOINTS, prefix=store._prefix)
