"""The address of the database, as people write it: `sqlite:///PATH` or `postgresql://USER:PASSWORD@HOST/NAME`."""

import re
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

MLFLOW_SCHEMA = "mlflow"  #: of PostgreSQL: MLflow's tables, beside ours
_POSTGRESQL = re.compile(r"postgres(ql)?(\+\w+)?:")  # as MLflow, SQLAlchemy and libpq take it
_PASSWORD = re.compile(r"(?<=//)([^:/?#@]*):[^/?#@]*@")


def is_postgresql(address: str) -> bool:
    return _POSTGRESQL.match(address) is not None


def for_sqlalchemy(address: str, *, schema: str = "") -> str:
    """With the driver that we have in its name; `schema`: of PostgreSQL, where all of its tables are."""
    base, query = _split(_POSTGRESQL.sub("postgresql+psycopg:", address, count=1))
    if schema:
        query["options"] = f"{query.get('options', '')} -csearch_path={schema}".strip()
    return _joined(base, query)


def for_libpq(address: str) -> str:
    """As PostgreSQL's own programs take it."""
    return _POSTGRESQL.sub("postgresql:", address, count=1)


def password(address: str) -> str:
    """What stands in it as the password; empty where there is none."""
    return unquote(urlsplit(address).password or "") or _split(address)[1].get("password", "")


def without_password(address: str) -> str:
    """What may be shown to anybody, and given to a program as a word."""
    base, query = _split(address)
    query.pop("password", None)
    return _joined(_PASSWORD.sub(r"\1@", base, count=1), query)


def _split(address: str) -> tuple[str, dict[str, str]]:
    base, _, query = address.partition("?")
    return base, dict(parse_qsl(query))


def _joined(base: str, query: dict[str, str]) -> str:
    return f"{base}?{urlencode(query, quote_via=quote, safe='/')}" if query else base
