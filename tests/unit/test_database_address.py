"""How the address of the database is read."""

import pytest

from ultramarine.domain.database import for_libpq, for_sqlalchemy, is_postgresql, password, without_password

FULL = "postgresql://um:p%40w@db:5432/um?sslmode=require"


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg2", "postgresql+psycopg"])
def test_every_way_in_which_people_name_postgresql_is_taken(scheme: str):
    address = f"{scheme}://db/um"
    assert is_postgresql(address)
    assert for_sqlalchemy(address) == "postgresql+psycopg://db/um"
    assert for_libpq(address) == "postgresql://db/um"


def test_sqlite_is_what_it_is():
    address = "sqlite:////a/b.db"
    assert not is_postgresql(address)
    assert for_sqlalchemy(address) == without_password(address) == address
    assert password(address) == ""


def test_a_schema_joins_the_options_that_are_there():
    assert for_sqlalchemy("postgresql://db/um", schema="s").endswith("/um?options=-csearch_path%3Ds")
    there = "postgresql:///um?host=/run/x&options=-ctimezone%3DUTC"
    expected = "postgresql+psycopg:///um?host=/run/x&options=-ctimezone%3DUTC%20-csearch_path%3Ds"
    assert for_sqlalchemy(there, schema="s") == expected


def test_a_password_is_found_and_taken_out_wherever_it_stands():
    assert password(FULL) == "p@w"
    assert without_password(FULL) == "postgresql://um@db:5432/um?sslmode=require"
    assert password("postgresql://um@db/um?password=x") == "x"
    assert without_password("postgresql://um@db/um?password=x") == "postgresql://um@db/um"
    assert without_password("postgresql:///um?host=/run/x") == "postgresql:///um?host=/run/x"
