"""The URL of a database, and how it is shown without what is secret in it."""

import dataclasses
import re
import urllib.parse
from typing import Any

from mlpvis_jax.errors import InputError

# Stricter than SQLAlchemy, which takes for the host what follows an @ in a password.
_FORM = re.compile(
    r"[a-z0-9+]+://([^:/?#@\s]*(:[^/?#@\s]*)?@)?([\w.-]*|\[[\da-fA-F:.]+\])(:\d{1,5})?"
    r"(/[^/?#@\s]*)?(\?[^#@\s]*)?"
)
# Of each kind, the driver of the extra, not SQLAlchemy's own choice, and the port.
_KINDS = {"postgresql": ("psycopg", 5432), "mysql": ("pymysql", 3306), "mariadb": ("pymysql", 3306)}
_SECRET = re.compile("pass|pwd|secret|token|key|cred", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class DatabaseUrl:
    """A checked URL.

    Attributes:
      shown: the URL without password and query, for messages and files.
      place: kind, host, port and name, which are equal for URLs of one database.
      full: the URL with all of it, for the driver alone.
    """

    shown: str
    place: tuple[Any, ...]
    full: str = dataclasses.field(repr=False)
    _secrets: tuple[str, ...] = dataclasses.field(repr=False)

    @classmethod
    def parse(cls, text: str) -> "DatabaseUrl":
        """Reads a URL such as postgresql://user:password@host/name.

        Raises:
          InputError: it is none, or one of another kind of database.
        """
        import sqlalchemy

        if not _FORM.fullmatch(text):
            raise InputError(
                "--storage is no URL of a database such as postgresql://USER:PASSWORD@HOST/NAME; "
                "in a password write @ as %40, / as %2F, ? as %3F, # as %23 and % as %25."
            )
        url = sqlalchemy.engine.make_url(text)
        shown = url.set(query={}).render_as_string(hide_password=True)
        kind = url.drivername.partition("+")[0]
        if kind not in _KINDS:
            raise InputError(
                f"--storage={shown}: several machines need PostgreSQL or MySQL; on one machine the "
                "folder of the sweep is enough."
            )
        driver, port = _KINDS[kind]
        if url.drivername == kind:
            url = url.set(drivername=f"{kind}+{driver}")
        query = urllib.parse.parse_qsl(text.partition("?")[2])
        values = [value for key, value in query if _SECRET.search(key)]
        secrets = {value for value in (url.password, *values) if value}
        secrets |= {urllib.parse.quote(secret, safe="") for secret in secrets}
        return cls(
            shown,
            (kind, url.host, url.port or port, url.database),
            url.render_as_string(hide_password=False),
            tuple(sorted(secrets, key=len, reverse=True)),
        )

    def hide(self, message: str) -> str:
        """Strips the message of a driver of the secrets that it may repeat."""
        for secret in self._secrets:
            message = message.replace(secret, "***")
        return message
