"""The connection pool, the SQL files and the migrations. Knows no table."""

import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, LiteralString, cast

import psycopg
from psycopg import AsyncConnection, AsyncCursor
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from services.chassis.concurrency import cancellations, raise_swallowed
from services.chassis.errors import ServiceError
from services.wire.errors import ErrorCode

logger = logging.getLogger(__name__)

HERE = Path(__file__).parent
MIGRATION_LOCK = 7_325_001
"""Advisory lock that serialises migrations of one database."""

Connection = AsyncConnection[Any]


class DatabaseUnavailable(ServiceError):
    """Postgres did not answer; nothing was written."""

    def __init__(self, cause: Exception) -> None:
        message = f"The database does not answer ({str(cause).strip().splitlines()[0][:200]}); try again shortly."
        super().__init__(ErrorCode.DATABASE_UNAVAILABLE, message, headers={"Retry-After": "2"})


def load_sql(name: str) -> dict[str, LiteralString]:
    """Return the statements of `sql/<name>.sql` by their `-- name:` line."""
    text = (HERE / "sql" / f"{name}.sql").read_text(encoding="utf-8")
    _, *parts = re.split(r"^-- name: (\w+)$", text, flags=re.MULTILINE)
    return {key: cast(LiteralString, sql.strip()) for key, sql in zip(parts[::2], parts[1::2], strict=True)}


async def one(cursor: AsyncCursor[Any]) -> Any:
    """Return the next row, which must be there."""
    row = await cursor.fetchone()
    if row is None:
        raise LookupError("the statement returned no row")
    return row


class Database:
    """A pool on one Postgres. A transaction is one `connection()` block."""

    def __init__(self, url: str, *, size: int = 10) -> None:
        self.url = url
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            url,
            min_size=1,
            max_size=size,
            timeout=5.0,
            reconnect_timeout=30.0,
            check=AsyncConnectionPool.check_connection,
            kwargs={"application_name": "moorage", "connect_timeout": 5},
            open=False,
        )

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Database"]:
        """Open the pool and bring the schema up to date.

        Raises:
            DatabaseUnavailable: Postgres does not answer.
        """
        await self._pool.open()
        try:
            await self.migrate()
            yield self
        finally:
            await self._pool.close()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Borrow a connection; commits at the end, rolls back on an exception.

        Raises:
            DatabaseUnavailable: Postgres does not answer, or went away in between.
        """
        before = cancellations()
        try:
            async with self._pool.connection() as connection:
                yield connection
        except (PoolTimeout, psycopg.OperationalError) as error:
            raise DatabaseUnavailable(error) from error
        raise_swallowed(before)

    async def migrate(self) -> None:
        """Apply the migrations that are missing, in order, each once, however many replicas start together."""
        async with self.connection() as connection:
            await connection.execute("select pg_advisory_xact_lock(%s)", (MIGRATION_LOCK,))
            await connection.execute(
                "create table if not exists schema_migrations "
                "(name text primary key, applied_at timestamptz not null default now())"
            )
            cursor = await connection.execute("select name from schema_migrations")
            done = {name for (name,) in await cursor.fetchall()}
            for path in sorted((HERE / "migrations").glob("*.sql")):
                if path.name in done:
                    continue
                await connection.execute(path.read_bytes())
                await connection.execute("insert into schema_migrations (name) values (%s)", (path.name,))
                logger.info("migration applied", extra={"migration": path.name})
