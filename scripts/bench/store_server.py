"""An object store on loopback, for benchmarks and tests: what clients of s3:// and gs:// ask for, kept in memory.

It speaks the part of Amazon's XML protocol that Google's store shares. It costs little processor time, answers after a
latency that can be set, and fails as it is told to. It checks no credentials.

    with store_server.running(latency=0.03) as server:
        os.environ.update(server.environment)
"""

import asyncio
import bisect
import contextlib
import dataclasses
import hashlib
import itertools
import multiprocessing
import os
import re
import threading
import time
import urllib.parse
import uuid
from collections import Counter, UserDict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from multiprocessing.connection import Connection
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape

_REASONS = {200: "OK", 204: "No Content", 206: "Partial Content", 403: "Forbidden", 404: "Not Found"}


@dataclasses.dataclass(frozen=True)
class Fault:
    """A failure of some requests.

    Attributes:
        pattern: regular expression for `METHOD /bucket/key?query` of these requests.
        kind: `status`: the status is answered; `cut`: half of the body is sent and the connection closed; `stall`: no
            answer comes; `refuse`: the connection is closed without an answer.
        times: how many requests it affects.
        status: that is answered.
        skip: requests that match and are answered as usual before that.
    """

    pattern: str
    kind: str = "status"
    times: int = 1
    status: int = 503
    skip: int = 0


@dataclasses.dataclass(frozen=True)
class Server:
    """A store that runs in a process of its own."""

    port: int
    _connection: Connection
    _lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables with which clients find the store, for s3:// and gs://."""
        url = f"http://127.0.0.1:{self.port}"
        return {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
            "STORAGE_EMULATOR_HOST": url,
        }

    def _ask(self, *message: Any) -> Any:
        with self._lock:
            self._connection.send(message)
            return self._connection.recv()

    def put(self, bucket: str, objects: Mapping[str, bytes]) -> None:
        """Stores objects, without a request."""
        self._ask("put", bucket, dict(objects))

    def objects(self, bucket: str) -> dict[str, bytes]:
        """Returns the objects of a bucket."""
        return dict(self._ask("objects", bucket))

    def delete(self, bucket: str, key: str) -> None:
        """Deletes an object, without a request."""
        self._ask("delete", bucket, key)

    def requests(self) -> Counter[str]:
        """Returns the number of requests since the last call, by method and kind, as in `GET` or `LIST`."""
        return Counter(self._ask("requests"))

    def fail(self, *faults: Fault) -> None:
        """Sets what goes wrong from now on."""
        self._ask("fail", faults)

    def set_latency(self, seconds: float) -> None:
        """Sets the time that passes before each answer."""
        self._ask("latency", seconds)


@contextlib.contextmanager
def running(latency: float = 0.0) -> Iterator[Server]:
    """Runs a store in a process of its own.

    Args:
        latency: seconds before each answer.
    """
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(there, latency), daemon=True)
    process.start()
    try:
        yield Server(here.recv(), here)
    finally:
        process.terminate()
        process.join()


def _serve(connection: Connection, latency: float) -> None:
    asyncio.run(_Store(latency).serve(connection))


class _Entry:
    def __init__(self, content: bytes, etag: str = "") -> None:
        self.content = content
        self.modified = datetime.now(UTC)
        self.generation = str(time.time_ns())
        self.etag = etag or f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'


class _Bucket(UserDict[str, _Entry]):
    """Objects by their keys. The keys are sorted once for all pages of a listing."""

    def __init__(self) -> None:
        super().__init__()
        self._sorted: list[str] | None = None

    def __setitem__(self, key: str, entry: _Entry) -> None:
        if key not in self.data:
            self._sorted = None
        self.data[key] = entry

    def __delitem__(self, key: str) -> None:
        self._sorted = None
        del self.data[key]

    def after(self, key: str, prefix: str) -> Iterator[str]:
        """Yields the keys with this prefix that are behind a key, in order."""
        if self._sorted is None:
            self._sorted = sorted(self.data)
        first = max(bisect.bisect_right(self._sorted, key), bisect.bisect_left(self._sorted, prefix))
        behind = itertools.islice(self._sorted, first, None)
        return itertools.takewhile(lambda one: one.startswith(prefix), behind)


class _Answer:
    def __init__(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.status, self.body, self.headers = status, body, headers


def _error(status: int, code: str, message: str) -> _Answer:
    return _Answer(status, f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode())


class _Store:
    def __init__(self, latency: float) -> None:
        self._latency = latency
        self._buckets: dict[str, _Bucket] = {}
        self._uploads: dict[str, dict[int, bytes]] = {}
        self._faults: list[list[Any]] = []
        self._requests: Counter[str] = Counter()

    async def serve(self, connection: Connection) -> None:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0, backlog=1024)
        connection.send(server.sockets[0].getsockname()[1])
        asyncio.get_running_loop().add_reader(connection.fileno(), self._told, connection)
        await server.serve_forever()

    def _told(self, connection: Connection) -> None:
        try:
            what, *values = connection.recv()
        except EOFError:  # The program that started the store was killed.
            os._exit(1)
        answer: Any = None
        if what == "put":
            bucket, objects = values
            self._bucket(bucket).update({key: _Entry(content) for key, content in objects.items()})
        elif what == "objects":
            answer = {key: entry.content for key, entry in self._bucket(values[0]).items()}
        elif what == "delete":
            self._bucket(values[0]).pop(values[1], None)
        elif what == "requests":
            answer, self._requests = dict(self._requests), Counter()
        elif what == "fail":
            self._faults = [[fault, fault.skip, fault.times] for fault in values[0]]
        elif what == "latency":
            self._latency = values[0]
        connection.send(answer)

    def _bucket(self, name: str) -> _Bucket:
        return self._buckets.setdefault(name, _Bucket())

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while await self._answer_one(reader, writer):
                pass
        writer.close()

    async def _answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answers a request. Returns whether the connection goes on."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        path, _, text = target.partition("?")
        query = dict(urllib.parse.parse_qsl(text, keep_blank_values=True))
        bucket, _, key = urllib.parse.unquote(path).lstrip("/").partition("/")
        self._requests["LIST" if "list-type" in query else method] += 1
        fault = self._fault(f"{method} {urllib.parse.unquote(target)}")
        if self._latency:
            await asyncio.sleep(self._latency)
        if fault and fault.kind == "stall":
            await asyncio.sleep(3600)
        if fault and fault.kind == "refuse":
            return False
        if fault and fault.kind == "status":
            answer = _error(fault.status, "Fault", "the request fails as it was told to")
        else:
            answer = self._answer(method, bucket, key, query, headers, body)
        answer.headers.setdefault("Date", format_datetime(datetime.now(UTC), usegmt=True))
        length = answer.headers.pop("length", str(len(answer.body)))
        lines = [f"HTTP/1.1 {answer.status} {_REASONS.get(answer.status, 'Other')}", f"Content-Length: {length}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in answer.headers.items()]
        sent = b"" if method == "HEAD" else answer.body
        cut = fault is not None and fault.kind == "cut"
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + (sent[: len(sent) // 2] if cut else sent))
        await writer.drain()
        return not cut

    def _fault(self, request: str) -> Fault | None:
        for state in self._faults:
            fault, skip, times = state
            if times and re.search(fault.pattern, request):
                if skip:
                    state[1] -= 1
                else:
                    state[2] -= 1
                    return fault
        return None

    def _answer(
        self, method: str, bucket: str, key: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes
    ) -> _Answer:
        entries = self._bucket(bucket)
        if method == "GET" and not key:
            return self._list(entries, query)
        if method in ("GET", "HEAD"):
            return self._get(entries, key, headers)
        if method == "PUT" and "partNumber" in query:
            self._uploads[query["uploadId"]][int(query["partNumber"])] = body
            return _Answer(200, ETag=f'"{query["partNumber"]}"')
        if method == "PUT":
            return self._put(entries, key, headers, body)
        if method == "POST" and "uploads" in query:
            upload = uuid.uuid4().hex
            self._uploads[upload] = {}
            return _Answer(200, _xml("InitiateMultipartUploadResult", f"<UploadId>{upload}</UploadId>"))
        if method == "POST" and "uploadId" in query:
            parts = self._uploads.pop(query["uploadId"], None)
            if parts is None:  # The answer to an earlier request was lost.
                return _Answer(200, _xml("CompleteMultipartUploadResult", f"<ETag>{escape(entries[key].etag)}</ETag>"))
            entries[key] = entry = _Entry(b"".join(parts[number] for number in sorted(parts)))
            return _Answer(200, _xml("CompleteMultipartUploadResult", f"<ETag>{escape(entry.etag)}</ETag>"))
        if method == "POST" and "delete" in query:
            keys = [one.text or "" for one in ElementTree.fromstring(body).iter() if one.tag.endswith("Key")]
            for one in keys:
                entries.pop(one, None)
            deleted = "".join(f"<Deleted><Key>{escape(one)}</Key></Deleted>" for one in keys)
            return _Answer(200, _xml("DeleteResult", deleted))
        if method == "DELETE" and "uploadId" in query:
            self._uploads.pop(query["uploadId"], None)
            return _Answer(204)
        if method == "DELETE":
            if entries.pop(key, None) is None:
                return _error(404, "NoSuchKey", "there is no such object")
            return _Answer(204)
        return _error(400, "NotSupported", f"{method} is not supported here")

    def _get(self, entries: Mapping[str, _Entry], key: str, headers: Mapping[str, str]) -> _Answer:
        entry = entries.get(key)
        if entry is None:
            return _error(404, "NoSuchKey", "there is no such object")
        if headers.get("if-match", entry.etag) not in (entry.etag, entry.etag.strip('"')):
            return _error(412, "PreconditionFailed", "the object has another version")
        told = {"ETag": entry.etag, "Last_Modified": format_datetime(entry.modified, usegmt=True)}
        told |= {"x_goog_generation": entry.generation, "Content_Type": "application/octet-stream"}
        if "range" in headers:
            start, end = re.fullmatch(r"bytes=(\d+)-(\d*)", headers["range"]).groups()  # type: ignore[union-attr]
            if int(start) >= len(entry.content):
                return _error(416, "InvalidRange", "there are no such bytes")
            part = entry.content[int(start) : int(end) + 1 if end else None]
            told["Content_Range"] = f"bytes {start}-{int(start) + len(part) - 1}/{len(entry.content)}"
            return _Answer(206, part, **told)
        return _Answer(200, entry.content, **told)

    def _put(self, entries: _Bucket, key: str, headers: Mapping[str, str], body: bytes) -> _Answer:
        absent = headers.get("if-none-match") == "*" or headers.get("x-goog-if-generation-match") == "0"
        if absent and key in entries:
            return _error(412, "PreconditionFailed", "there is such an object")
        expected = headers.get("if-match", "").strip('"') or headers.get("x-goog-if-generation-match", "0")
        there = entries.get(key)
        if expected != "0" and (there is None or expected not in (there.etag.strip('"'), there.generation)):
            return _error(412, "PreconditionFailed", "the object has another version")
        source = headers.get("x-amz-copy-source") or headers.get("x-goog-copy-source")
        if source:
            name, _, copied = urllib.parse.unquote(source).lstrip("/").partition("/")
            original = self._bucket(name).get(copied)
            if original is None:
                return _error(404, "NoSuchKey", "there is no such object")
            entries[key] = _Entry(original.content, original.etag)
            return _Answer(200, _xml("CopyObjectResult", f"<ETag>{escape(original.etag)}</ETag>"))
        entries[key] = entry = _Entry(body)
        return _Answer(200, ETag=entry.etag, x_goog_generation=entry.generation)

    def _list(self, entries: _Bucket, query: Mapping[str, str]) -> _Answer:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        after = query.get("continuation-token") or query.get("start-after") or ""
        limit = int(query.get("max-keys", 1000))
        contents, folders = [], dict[str, None]()
        keys = list(itertools.islice(entries.after(after, prefix), None if delimiter else limit + 1))
        for key in keys if delimiter else keys[:limit]:
            below = key.removeprefix(prefix)
            if delimiter and delimiter in below:
                folders[prefix + below.split(delimiter)[0] + delimiter] = None
                continue
            entry = entries[key]
            contents.append(
                f"<Contents><Key>{escape(key)}</Key><Size>{len(entry.content)}</Size>"
                f"<LastModified>{entry.modified.isoformat(timespec='milliseconds').replace('+00:00', 'Z')}"
                f"</LastModified><ETag>{escape(entry.etag)}</ETag></Contents>"
            )
        more = not delimiter and len(keys) > limit
        text = "".join(contents) + "".join(
            f"<CommonPrefixes><Prefix>{escape(one)}</Prefix></CommonPrefixes>" for one in folders
        )
        text += f"<IsTruncated>{str(more).lower()}</IsTruncated>"
        if more:
            text += f"<NextContinuationToken>{escape(keys[limit - 1])}</NextContinuationToken>"
        return _Answer(200, _xml("ListBucketResult", text))


def _xml(name: str, content: str) -> bytes:
    return f'<?xml version="1.0" encoding="UTF-8"?><{name}>{content}</{name}>'.encode()
