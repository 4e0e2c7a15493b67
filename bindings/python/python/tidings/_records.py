"""Records of a collection, read and written."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import Any, Protocol

from . import _arguments, _docs, _tidings
from ._docs import documented

Record = dict[str, Any]
# `list` is a method below.
RecordList = list[Record]


class Asker(Protocol):
    """A client, sync or async."""

    @property
    def _client(self) -> _tidings.Client: ...

    def _finish(self, call: _tidings.Call, timeout: float | None) -> Any: ...


class Records:
    """The part of a `Collection` that reads and writes records."""

    _name: str

    @property
    def _asker(self) -> Asker:
        raise NotImplementedError

    @property
    def _native(self) -> _tidings.Records:
        return _tidings.Records(self._asker._client, self._name)

    @documented(_docs.LIST, loop="for")
    def list(
        self,
        *,
        filter: str | None = None,
        sort: str | Iterable[str] | None = None,
        expand: str | Iterable[str] | None = None,
        fields: str | Iterable[str] | None = None,
        page_size: int = 500,
        query: Mapping[str, Any] | None = None,
        timeout: float = 30,
    ) -> Iterator[Record]:
        """All records, one by one; a page of them is requested when the one before has been read."""
        options = _arguments.record_options(
            filter=filter,
            sort=sort,
            expand=expand,
            fields=fields,
            page_size=page_size,
            query=query,
            timeout=timeout,
        )
        return self._walk(self._native.list(options))

    def _walk(self, pages: _tidings.Pages) -> Iterator[Record]:
        while (records := self._asker._finish(pages.next(), None)) is not None:
            yield from records

    @documented(_docs.FULL_LIST)
    def get_full_list(
        self,
        *,
        filter: str | None = None,
        sort: str | Iterable[str] | None = None,
        expand: str | Iterable[str] | None = None,
        fields: str | Iterable[str] | None = None,
        page_size: int = 500,
        query: Mapping[str, Any] | None = None,
        timeout: float = 30,
    ) -> RecordList:
        """All records, in memory."""
        return [
            *self.list(
                filter=filter,
                sort=sort,
                expand=expand,
                fields=fields,
                page_size=page_size,
                query=query,
                timeout=timeout,
            )
        ]

    @documented(_docs.PAGE)
    def get_list(
        self,
        page: int = 1,
        per_page: int = 30,
        *,
        filter: str | None = None,
        sort: str | Iterable[str] | None = None,
        expand: str | Iterable[str] | None = None,
        fields: str | Iterable[str] | None = None,
        query: Mapping[str, Any] | None = None,
        timeout: float = 30,
    ) -> Record:
        """One page by its number, with the number of all records: for who shows pages."""
        options = _arguments.record_options(
            filter=filter,
            sort=sort,
            expand=expand,
            fields=fields,
            page_size=per_page,
            query=query,
            timeout=timeout,
        )
        answer: Record = self._asker._finish(self._native.page(page, options), None)
        return answer

    @documented(_docs.RECORD)
    def get_one(
        self,
        id: str,
        *,
        expand: str | Iterable[str] | None = None,
        fields: str | Iterable[str] | None = None,
        query: Mapping[str, Any] | None = None,
        timeout: float = 30,
    ) -> Record:
        """Reads one record by its id."""
        options = _arguments.record_options(expand=expand, fields=fields, query=query, timeout=timeout)
        call = self._native.get(_arguments.valid("id", id), options)
        record: Record = self._asker._finish(call, None)
        return record

    @documented(_docs.RECORD)
    def create(
        self,
        record: Mapping[str, Any],
        *,
        expand: str | Iterable[str] | None = None,
        fields: str | Iterable[str] | None = None,
        query: Mapping[str, Any] | None = None,
        timeout: float = 30,
    ) -> Record:
        """Creates a record, and returns it as the server made it. For files use `send`."""
        options = _arguments.record_options(expand=expand, fields=fields, query=query, timeout=timeout)
        call = self._native.create(_arguments.to_json(record), options)
        created: Record = self._asker._finish(call, None)
        return created

    @documented(_docs.RECORD)
    def update(
        self,
        id: str,
        changes: Mapping[str, Any],
        *,
        expand: str | Iterable[str] | None = None,
        fields: str | Iterable[str] | None = None,
        query: Mapping[str, Any] | None = None,
        timeout: float = 30,
    ) -> Record:
        """Changes fields of a record, and returns it as it is then. The others stay what they are."""
        options = _arguments.record_options(expand=expand, fields=fields, query=query, timeout=timeout)
        call = self._native.update(_arguments.valid("id", id), _arguments.to_json(changes), options)
        updated: Record = self._asker._finish(call, None)
        return updated

    @documented(_docs.DELETE)
    def delete(self, id: str) -> None:
        """Deletes a record."""
        self._asker._finish(self._native.delete(_arguments.valid("id", id)), None)


class AsyncRecords:
    """The part of an `AsyncCollection` that reads and writes records."""

    _name: str

    @property
    def _asker(self) -> Asker:
        raise NotImplementedError

    @property
    def _native(self) -> _tidings.Records:
        return _tidings.Records(self._asker._client, self._name)

    @documented(_docs.LIST, loop="async for")
    def list(
        self,
        *,
        filter: str | None = None,
        sort: str | Iterable[str] | None = None,
        expand: str | Iterable[str] | None = None,
        fields: str | Iterable[str] | None = None,
        page_size: int = 500,
        query: Mapping[str, Any] | None = None,
        timeout: float = 30,
    ) -> AsyncIterator[Record]:
        """All records, one by one; a page of them is requested when the one before has been read."""
        options = _arguments.record_options(
            filter=filter,
            sort=sort,
            expand=expand,
            fields=fields,
            page_size=page_size,
            query=query,
            timeout=timeout,
        )
        return self._walk(self._native.list(options))

    async def _walk(self, pages: _tidings.Pages) -> AsyncIterator[Record]:
        while (records := await self._asker._finish(pages.next(), None)) is not None:
            for record in records:
                yield record

    @documented(_docs.FULL_LIST)
    async def get_full_list(
        self,
        *,
        filter: str | None = None,
        sort: str | Iterable[str] | None = None,
        expand: str | Iterable[str] | None = None,
        fields: str | Iterable[str] | None = None,
        page_size: int = 500,
        query: Mapping[str, Any] | None = None,
        timeout: float = 30,
    ) -> RecordList:
        """All records, in memory."""
        records = self.list(
            filter=filter,
            sort=sort,
            expand=expand,
            fields=fields,
            page_size=page_size,
            query=query,
            timeout=timeout,
        )
        return [record async for record in records]

    @documented(_docs.PAGE)
    async def get_list(
        self,
        page: int = 1,
        per_page: int = 30,
        *,
        filter: str | None = None,
        sort: str | Iterable[str] | None = None,
        expand: str | Iterable[str] | None = None,
        fields: str | Iterable[str] | None = None,
        query: Mapping[str, Any] | None = None,
        timeout: float = 30,
    ) -> Record:
        """One page by its number, with the number of all records: for who shows pages."""
        options = _arguments.record_options(
            filter=filter,
            sort=sort,
            expand=expand,
            fields=fields,
            page_size=per_page,
            query=query,
            timeout=timeout,
        )
        answer: Record = await self._asker._finish(self._native.page(page, options), None)
        return answer

    @documented(_docs.RECORD)
    async def get_one(
        self,
        id: str,
        *,
        expand: str | Iterable[str] | None = None,
        fields: str | Iterable[str] | None = None,
        query: Mapping[str, Any] | None = None,
        timeout: float = 30,
    ) -> Record:
        """Reads one record by its id."""
        options = _arguments.record_options(expand=expand, fields=fields, query=query, timeout=timeout)
        call = self._native.get(_arguments.valid("id", id), options)
        record: Record = await self._asker._finish(call, None)
        return record

    @documented(_docs.RECORD)
    async def create(
        self,
        record: Mapping[str, Any],
        *,
        expand: str | Iterable[str] | None = None,
        fields: str | Iterable[str] | None = None,
        query: Mapping[str, Any] | None = None,
        timeout: float = 30,
    ) -> Record:
        """Creates a record, and returns it as the server made it. For files use `send`."""
        options = _arguments.record_options(expand=expand, fields=fields, query=query, timeout=timeout)
        call = self._native.create(_arguments.to_json(record), options)
        created: Record = await self._asker._finish(call, None)
        return created

    @documented(_docs.RECORD)
    async def update(
        self,
        id: str,
        changes: Mapping[str, Any],
        *,
        expand: str | Iterable[str] | None = None,
        fields: str | Iterable[str] | None = None,
        query: Mapping[str, Any] | None = None,
        timeout: float = 30,
    ) -> Record:
        """Changes fields of a record, and returns it as it is then. The others stay what they are."""
        options = _arguments.record_options(expand=expand, fields=fields, query=query, timeout=timeout)
        call = self._native.update(_arguments.valid("id", id), _arguments.to_json(changes), options)
        updated: Record = await self._asker._finish(call, None)
        return updated

    @documented(_docs.DELETE)
    async def delete(self, id: str) -> None:
        """Deletes a record."""
        await self._asker._finish(self._native.delete(_arguments.valid("id", id)), None)
