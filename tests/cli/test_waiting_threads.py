"""How threads of the nets wait for one another."""

import os

import pytest

from geosr.cli.main import _let_threads_sleep


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.setenv(name, "")  # what the code under test sets goes with it
        monkeypatch.delenv(name)


def test_waiting_threads_spin_for_a_moment_only():
    _let_threads_sleep()
    assert os.environ["GOMP_SPINCOUNT"] == "1000"


@pytest.mark.parametrize("name, value", [("OMP_WAIT_POLICY", "ACTIVE"), ("GOMP_SPINCOUNT", "7")])
def test_what_the_user_says_of_them_holds(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    before = dict(os.environ)
    _let_threads_sleep()
    assert dict(os.environ) == before
