"""The index: tables derived from a ledger, which may be deleted at any time.

SQLite beside the ledger by default; PostgreSQL by URL for a fleet, where each row carries its run.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import sqlalchemy as sql
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from resume_daemon.errors import LedgerError, UsageError
from resume_daemon.ledger.record import FIRST_PREV, Record, rfc3339, utc_now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Source = Callable[[int], Iterator[Record]]

_T = TypeVar("_T")

BATCH = 1000
"""Records that one transaction takes in."""

_MAX_INTEGER = 2**63 - 1
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}

_METADATA = sql.MetaData()


def _table(name: str, *columns: sql.Column[Any], key: str = "seq") -> sql.Table:
    own = [] if key == "seq" else [sql.Column("seq", sql.BigInteger, nullable=False)]
    primary = sql.BigInteger if key == "seq" else sql.Text
    return sql.Table(
        name,
        _METADATA,
        sql.Column("run", sql.Text, primary_key=True),
        sql.Column(key, primary, primary_key=True, autoincrement=False),
        *own,
        sql.Column("at", sql.Text, nullable=False),
        *columns,
    )


def _texts(*names: str) -> list[sql.Column[Any]]:
    return [sql.Column(name, sql.Text) for name in names]


def _integers(*names: str) -> list[sql.Column[Any]]:
    return [sql.Column(name, sql.BigInteger) for name in names]


def _of_verdict() -> list[sql.Column[Any]]:
    return [
        *_texts("path", "layout", "verdict", "codes", "manifest", "fingerprint"),
        *_integers("step", "bytes"),
        sql.Column("seconds", sql.Double),
    ]


_CHECKPOINTS = _table("checkpoints", *_of_verdict(), key="checkpoint")
_BY_KIND = {
    "verdict": _table("verdicts", *_texts("checkpoint"), *_of_verdict()),
    "pair": _table(
        "pairs",
        *_texts("tracker", "run_id", "segment", "checkpoint"),
        *_integers("tracker_step", "trainer_step"),
    ),
    "snapshot": _table(
        "snapshots",
        *_texts("checkpoint", "stage", "files"),
        *_integers("step", "curriculum_step"),
    ),
    "drift": _table(
        "drift",
        *_texts("condition", "state", "message"),
        *_integers("tracker_step", "trainer_step", "offset", "drift"),
    ),
    "alert": _table("alerts", *_texts("id", "condition", "state", "sink", "outcome")),
    "daemon": _table("daemon_events", *_texts("event", "version", "host"), *_integers("pid")),
}
_POSITION = sql.Table(
    "position",
    _METADATA,
    sql.Column("run", sql.Text, primary_key=True),
    sql.Column("seq", sql.BigInteger, nullable=False),
    sql.Column("digest", sql.Text, nullable=False),
)

TABLES = tuple(sorted({_CHECKPOINTS.name, *(table.name for table in _BY_KIND.values())}))
"""Names of the tables that can be exported."""


@dataclass(frozen=True, slots=True)
class Position:
    """How far a run's ledger is in the index: the ``seq`` and digest of its newest record."""

    seq: int
    digest: str


_START = Position(0, FIRST_PREV)


class Index:
    """The derived tables behind one URL.

    Args:
        url: ``sqlite:////absolute/path/index.db``, ``postgresql://user@host/name``, or any other
            URL that SQLAlchemy knows and whose driver is installed.

    Attributes:
        damaged: Where a damaged SQLite file was put, or None; it was only an index.

    Raises:
        UsageError: The URL is wrong, or its driver is not installed.
        LedgerError: The database cannot be reached or written.
    """

    def __init__(self, url: str) -> None:
        self.damaged: Path | None = None
        try:
            parsed = sql.make_url(url)
            if parsed.drivername == "postgresql":
                # SQLAlchemy 2.0 would choose psycopg2, 2.1 chooses psycopg.
                parsed = parsed.set(drivername="postgresql+psycopg")
            self._engine = sql.create_engine(parsed, poolclass=sql.NullPool)
        except ArgumentError as error:
            hint = "Write sqlite:////path/index.db or postgresql://user@host/database."
            raise UsageError(
                "open the index", None, "its URL is not understood", hint=hint
            ) from error
        except ModuleNotFoundError as error:
            hint = "Install it (for PostgreSQL: pip install 'psycopg[binary]')."
            reason = f"its driver {error.name} is not installed"
            raise UsageError("open the index", None, reason, hint=hint) from error
        self._name = parsed.render_as_string(hide_password=True)
        file = parsed.database if parsed.get_backend_name() == "sqlite" else None
        self._file = Path(file) if file and file != ":memory:" else None
        self._guarded(lambda: _METADATA.create_all(self._engine))

    def sync(self, run: str, source: Source) -> int:
        """Take in the records that are not in the index yet; return how many there were.

        A ledger that does not continue what the index holds of this run (it was replaced or cut)
        replaces all of the run's rows.

        Args:
            run: The name under which the rows are kept.
            source: Given a ``seq``, yields the records after it: ``ledger.records``.

        Raises:
            LedgerError: The database fails; what was taken in so far stays.
        """
        return self._guarded(lambda: self._sync(run, source))

    def rebuild(self, run: str, source: Source) -> int:
        """Forget all rows of a run and take in its whole ledger; return the number of records.

        Raises:
            LedgerError: The database fails.
        """

        def again() -> int:
            with self._engine.begin() as connection:
                _forget(connection, run)
            return self._sync(run, source)

        return self._guarded(again)

    def position(self, run: str) -> Position:
        """Return how far a run's ledger is in the index; seq 0 where it is not.

        Raises:
            LedgerError: The database fails.
        """

        def read() -> Position:
            with self._engine.connect() as connection:
                return _position(connection, run)

        return self._guarded(read)

    def export(self, table: str, run: str | None = None) -> Iterator[dict[str, Any]]:
        """Yield the rows of a table in the order of the ledger, of one run or of all.

        Raises:
            UsageError: There is no such table.
            LedgerError: The database fails.
        """
        if table not in TABLES:
            known = ", ".join(TABLES)
            raise UsageError("export", table, "there is no such table", hint=f"There are: {known}.")
        chosen = _METADATA.tables[table]
        query = chosen.select().order_by(chosen.c.run, chosen.c.seq)
        if run is not None:
            query = query.where(chosen.c.run == _text(run))
        try:
            with self._engine.connect() as connection:
                for row in connection.execution_options(yield_per=BATCH).execute(query):
                    yield dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it
        except SQLAlchemyError as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _sync(self, run: str, source: Source) -> int:
        with self._engine.connect() as connection:
            known = _position(connection, run)
        # The newest known record is read again: it shows whether this is still the same ledger.
        records = source(max(0, known.seq - 1))
        if known.seq:
            first = next(records, None)
            if first is None or (first.seq, first.digest) != (known.seq, known.digest):
                with self._engine.begin() as connection:
                    _forget(connection, run)
                known, records = _START, source(0)
        taken = 0
        while batch := list(islice(records, BATCH)):
            with self._engine.begin() as connection:
                if not _claim(connection, run, known):
                    # Somebody else synchronised the same ledger meanwhile; theirs is as good.
                    break
                _insert(connection, run, batch)
                known = Position(batch[-1].seq, batch[-1].digest)
                connection.execute(
                    _POSITION.update()
                    .where(_POSITION.c.run == _text(run))
                    .values(seq=known.seq, digest=known.digest)
                )
            taken += len(batch)
        return taken

    def _guarded(self, work: Callable[[], _T]) -> _T:
        """Do ``work``; if the SQLite file turns out to be damaged, start a new one and do it."""
        try:
            return work()
        except SQLAlchemyError as error:
            if self._file is None or not _is_damage(error):
                raise self._failed(error) from error
        self._engine.dispose()
        try:
            self.damaged = _set_aside(self._file)
            _METADATA.create_all(self._engine)
            return work()
        except (SQLAlchemyError, OSError) as error:
            raise self._failed(error) from error

    def _failed(self, error: SQLAlchemyError | OSError) -> LedgerError:
        cause = error.orig if isinstance(error, DBAPIError) else error
        hint = "The ledger itself is untouched; the index catches up with it later."
        return LedgerError("use the index", self._name, str(cause).strip(), hint=hint)


def _position(connection: sql.Connection, run: str) -> Position:
    query = sql.select(_POSITION.c.seq, _POSITION.c.digest).where(_POSITION.c.run == _text(run))
    row = connection.execute(query).first()
    return Position(row.seq, row.digest) if row else _START


def _claim(connection: sql.Connection, run: str, known: Position) -> bool:
    """Lock the run's position for this transaction; return whether it still is ``known``."""
    # An update that changes nothing: a lock that SQLite and PostgreSQL both take at once.
    update = _POSITION.update().where(
        _POSITION.c.run == _text(run),
        _POSITION.c.seq == known.seq,
        _POSITION.c.digest == known.digest,
    )
    if connection.execute(update.values(seq=known.seq)).rowcount == 1:
        return True
    if known == _START and _position(connection, run) == _START:
        row = {"run": _text(run), "seq": known.seq, "digest": known.digest}
        connection.execute(_POSITION.insert(), row)
        return True
    return False


def _insert(connection: sql.Connection, run: str, batch: list[Record]) -> None:
    for kind, table in _BY_KIND.items():
        if rows := [_row(table, run, record) for record in batch if record.kind == kind]:
            connection.execute(table.insert(), rows)
    verdicts = [_row(_CHECKPOINTS, run, record) for record in batch if record.kind == "verdict"]
    if latest := {row["checkpoint"]: row for row in verdicts}:
        of_run = _CHECKPOINTS.c.run == _text(run)
        stale = _CHECKPOINTS.delete().where(of_run, _CHECKPOINTS.c.checkpoint.in_(list(latest)))
        connection.execute(stale)
        connection.execute(_CHECKPOINTS.insert(), list(latest.values()))


def _forget(connection: sql.Connection, run: str) -> None:
    for table in _METADATA.tables.values():
        connection.execute(table.delete().where(table.c.run == _text(run)))


def _row(table: sql.Table, run: str, record: Record) -> dict[str, Any]:
    common: dict[str, Any] = {"run": run, "seq": record.seq, "at": rfc3339(record.at)}
    row: dict[str, Any] = {}
    for column in table.columns:
        value: Any = common.get(column.name, record.fields.get(column.name))
        if isinstance(column.type, sql.Text):
            row[column.name] = _text("" if value is None and not column.nullable else value)
        elif isinstance(column.type, sql.Double):
            row[column.name] = float(value) if type(value) in {int, float} else None
        else:
            fits = type(value) is int and abs(value) <= _MAX_INTEGER
            row[column.name] = value if fits else None
    return row


def _text(value: Any) -> str | None:
    """Return a value as text that every database stores: no NUL, no lone surrogate."""
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()


def _is_damage(error: SQLAlchemyError) -> bool:
    cause = error.orig if isinstance(error, DBAPIError) else None
    # The low byte is the primary code; the rest says more precisely what is corrupt.
    return isinstance(cause, sqlite3.Error) and (
        getattr(cause, "sqlite_errorcode", 0) & 0xFF in _DAMAGED
    )


def _set_aside(file: Path) -> Path:
    stamp = utc_now().strftime("%Y%m%dT%H%M%S.%fZ")
    aside = file.with_name(f"{file.name}.damaged-{stamp}")
    for suffix in ("-journal", "-wal", "-shm"):
        # They belong to the damaged file; a new one would be recovered from them.
        file.with_name(file.name + suffix).unlink(missing_ok=True)
    file.rename(aside)
    return aside
