"""Requests that must not be repeated: how often the server sees them, what the end was, what a refusal says."""

from __future__ import annotations

import asyncio
import gc
import pickle
import signal
import warnings
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from conftest import PATIENCE, Program, dumped, soon
from scripted import Answer, Scripted
from tidings import (
    AsyncEventSource,
    ClientResponseError,
    Closed,
    Disconnected,
    EventSource,
    Message,
    Open,
    SourceRequest,
    TooLarge,
)
from tidings.exceptions import (
    ArgumentError,
    NetworkError,
    ProtocolError,
    TimedOutError,
    TokenProviderError,
    TooLargeError,
)

Test = Callable[[Coroutine[Any, Any, None]], None]

WHOLE = "data: Hel\n\ndata: lo\n\ndata: [DONE]\n\n"
JSON = {"Content-Type": "application/json", "X-Request-Id": "r1"}
PROMPT: dict[str, Any] = {"json": {"stream": True}, "retry": 0.001, "backoff": (0.001, 0.001)}


def texts(source: EventSource) -> list[str]:
    return [message.data for message in source]


def test_a_whole_answer_is_asked_for_once() -> None:
    with Scripted(Answer(WHOLE)) as server:
        with EventSource(server.url, **PROMPT) as source:
            assert texts(source) == ["Hel", "lo", "[DONE]"]
            assert source.ended == Closed(None)
        assert server.count() == 1
        (request,) = server.requests
        assert (request.method, request.body) == ("POST", b'{"stream": true}')
        assert request.headers["content-type"] == "application/json"


def test_a_slow_loop_that_breaks_at_the_mark_does_not_ask_again() -> None:
    with Scripted(Answer(WHOLE)) as server, EventSource(server.url, **PROMPT) as source:
        for message in source:
            if message.data == "[DONE]":
                break
            # The client has read ahead, and met the end.
            soon(lambda: source.state.name == "closed")
        assert server.count() == 1


def test_without_with_it_is_asked_for_once() -> None:
    with Scripted(Answer(WHOLE)) as server:
        assert texts(EventSource(server.url, **PROMPT)) == ["Hel", "lo", "[DONE]"]
        assert server.count() == 1


def test_garbage_asks_for_nothing() -> None:
    with Scripted(Answer(WHOLE, end="hold"), Answer(WHOLE)) as server:
        source = EventSource(server.url, **PROMPT)
        assert next(source).data == "Hel"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            del source
            gc.collect()
        assert server.count() == 1


def test_a_cut_is_an_error_that_says_how_many_came() -> None:
    with Scripted(Answer("data: a\n\ndata: b\n\ndata: c", end="cut"), Answer(WHOLE)) as server:
        with EventSource(server.url, **PROMPT) as source, pytest.raises(NetworkError) as caught:
            texts(source)
        assert caught.value.messages == 2
        assert str(caught.value).startswith("the stream was cut after 2 messages: ")
        assert source.ended == Closed(caught.value, Message("message", "c", ""))
        assert pickle.loads(pickle.dumps(caught.value)).messages == 2
        assert server.count() == 1


def test_silence_is_a_cut_too() -> None:
    with Scripted(Answer("data: a\n\n", end="hold")) as server:
        with EventSource(server.url, **PROMPT, read_timeout=0.05) as source:
            assert next(source).data == "a"
            with pytest.raises(TimedOutError) as caught:
                next(source)
        assert caught.value.messages == 1
        assert server.count() == 1


def test_ctrl_c_asks_for_nothing(program: Callable[..., Program]) -> None:
    with Scripted(Answer("data: a\n\n", end="hold"), Answer(WHOLE)) as server:
        one = program(f"""
            from tidings import EventSource
            for message in EventSource({dumped(server.url)}, json=1, retry=0.001, backoff=(0.001, 0.001)):
                print(message.data)
        """)
        one.expect("a")
        one.process.send_signal(signal.SIGINT)
        one.wait()
        assert "KeyboardInterrupt" in one.error
        assert server.count() == 1


@pytest.mark.parametrize(
    "headers", [{"Retry-After": "1"}, {}], ids=["with Retry-After", "without Retry-After"]
)
def test_429_and_then_an_answer_are_two_requests(headers: dict[str, str]) -> None:
    busy = Answer('{"error": {"message": "busy"}}', 429, headers)
    with Scripted(busy, Answer(WHOLE)) as server:
        with EventSource(server.url, **PROMPT) as source:
            gone = source.next_event(PATIENCE)
            assert isinstance(gone, Disconnected)
            assert isinstance(gone.error, ClientResponseError)
            assert gone.error.retry_after == (1 if headers else None)
            assert texts(source) == ["Hel", "lo", "[DONE]"]
        assert server.count() == 2
        assert server.requests[0].body == server.requests[1].body


@pytest.mark.parametrize(
    ("options", "tries"), [({}, 3), ({"max_tries": 2}, 2), ({"method": "GET", "max_tries": 4}, 4)]
)
def test_429_for_ever_is_an_error_of_the_loop(options: dict[str, Any], tries: int) -> None:
    busy = Answer('{"error": "Too busy."}', 429, {"X-RateLimit-Remaining": "0", "Set-Cookie": "s3cret"})
    with Scripted(busy) as server:
        with (
            EventSource(server.url, **PROMPT, **options) as source,
            pytest.raises(ClientResponseError) as caught,
        ):
            texts(source)
        assert server.count() == tries
    error = caught.value
    assert (error.status, error.headers["x-ratelimit-remaining"], error.messages) == (429, "0", None)
    assert str(error).startswith(f"gave up after {tries} tries in ")
    assert str(error).endswith(": the server answered 429: Too busy.")
    assert "s3cret" not in repr(error)


def test_a_retry_after_beyond_the_time_limit_is_not_waited_for() -> None:
    with Scripted(Answer("", 503, {"Retry-After": "60"})) as server:
        with (
            EventSource(server.url, **PROMPT, retry_for=59) as source,
            pytest.raises(ClientResponseError) as caught,
        ):
            texts(source)
        assert (caught.value.status, caught.value.retry_after, server.count()) == (503, 60, 1)


def test_reconnect_decides_against_the_method() -> None:
    with Scripted(Answer(WHOLE)) as server:
        with EventSource(server.url, **PROMPT, reconnect=True) as source:
            assert [next(source).data for _ in range(6)] == ["Hel", "lo", "[DONE]"] * 2
        assert server.count() >= 2
    with Scripted(Answer(WHOLE)) as server:
        with EventSource(server.url, reconnect=False) as source:
            assert texts(source) == ["Hel", "lo", "[DONE]"]
        assert server.count() == 1


def test_a_last_message_without_a_blank_line_is_reported() -> None:
    with Scripted(Answer("data: a\n\ndata: [DONE]\n")) as server, EventSource(server.url, **PROMPT) as source:
        assert source.ended is None
        assert texts(source) == ["a"]
        assert source.ended == Closed(None, Message("message", "[DONE]", ""))
    with Scripted(Answer("data: [DONE]")) as server, EventSource(server.url, **PROMPT) as source:
        opened, closed = source.events()
        assert isinstance(opened, Open)
        assert closed == Closed(None, Message("message", "[DONE]", ""))


def test_a_message_that_is_too_large_is_an_error_of_the_loop() -> None:
    answer = Answer(f"data: {'x' * 11}\n\ndata: after\n\n")
    with Scripted(answer) as server, EventSource(server.url, **PROMPT, message_limit=10) as source:
        with pytest.raises(TooLargeError, match="larger than 10 bytes") as caught:
            next(source)
        assert (caught.value.limit, pickle.loads(pickle.dumps(caught.value)).limit) == (10, 10)
        assert next(source).data == "after"
    with (
        Scripted(answer) as server,
        EventSource(server.url, **PROMPT, message_limit=10, skip_too_large=True) as source,
    ):
        assert texts(source) == ["after"]
    with Scripted(answer) as server, EventSource(server.url, **PROMPT, message_limit=10) as source:
        assert TooLarge(10) in list(source.events())


def test_a_200_that_is_no_stream_is_readable() -> None:
    body = '{"error": {"message": "The model is loading."}}'
    with Scripted(Answer(body, headers=JSON)) as server:
        with EventSource(server.url, **PROMPT) as source, pytest.raises(ProtocolError) as caught:
            texts(source)
        assert server.count() == 1
    error = caught.value
    assert str(error).endswith("instead of an event stream: The model is loading.")
    assert (error.status, error.body, error.headers["x-request-id"]) == (200, body.encode(), "r1")
    assert error.response == {"error": {"message": "The model is loading."}}


def test_other_content_types_are_taken_if_they_are_asked_for() -> None:
    for accepted in ("text/plain", ["text/other", "text/plain"]):
        with (
            Scripted(Answer(WHOLE, headers={"Content-Type": "text/plain"})) as server,
            EventSource(server.url, **PROMPT, accept_type=accepted) as source,
        ):
            assert texts(source) == ["Hel", "lo", "[DONE]"]


def test_open_shows_the_head_and_no_secret() -> None:
    with Scripted(
        Answer(WHOLE, headers={"Content-Type": "text/event-stream", "X-A": "1", "x-a": "2"})
    ) as server:
        url = f"{server.url}chat?key=s3cret"
        with EventSource(url, **PROMPT) as source:
            opened = source.next_event(PATIENCE)
        assert isinstance(opened, Open)
        assert (opened.url, opened.status, opened.headers["x-a"]) == (url, 200, "1, 2")
        assert repr(opened) == f"Open('{server.url}chat', status=200)"
    assert "s3cret" not in repr(SourceRequest("http://u:s3cret@host/?s3cret", "s3cret", {"X": "s3cret"}))


def test_bodies_are_what_they_look_like() -> None:
    for options, body, label in [
        ({"body": "gr\u00fc\u00df dich"}, "gr\u00fc\u00df dich".encode(), "text/plain; charset=utf-8"),
        ({"body": b"\x00\xff"}, b"\x00\xff", "application/octet-stream"),
        ({"body": {"a": 1}}, b'{"a": 1}', "application/json"),
        ({"json": "text"}, b'"text"', "application/json"),
        ({"json": [1], "headers": {"content-type": "application/x"}}, b"[1]", "application/x"),
    ]:
        with Scripted(Answer()) as server, EventSource(server.url, **options) as source:
            assert texts(source) == []
            (request,) = server.requests
            assert (request.method, request.body, request.headers["content-type"]) == ("POST", body, label)
    with pytest.raises(ArgumentError, match="give one of them"):
        EventSource("http://127.0.0.1", body="a", json=1)
    for wrong in ({"json": {1, 2}}, {"max_tries": 0}, {"once": True, "reconnect": True}):
        with pytest.raises(ArgumentError):
            EventSource("http://127.0.0.1", **wrong)


def test_json_that_is_too_deep_is_an_error_of_ours() -> None:
    with pytest.raises(ProtocolError, match="nested over 10000 levels"):
        Message("message", "[" * 100_000, "").json()


def test_on_status_decides_about_refusals() -> None:
    asked: list[int] = []

    def on_status(status: int) -> bool | None:
        asked.append(status)
        return {404: True, 503: False}.get(status)

    answers = [Answer("", status, {}) for status in (404, 429, 503)]
    with Scripted(*answers, Answer(WHOLE)) as server:
        with EventSource(server.url, **PROMPT, on_status=on_status) as source:
            with pytest.raises(ClientResponseError) as caught:
                texts(source)
            assert (caught.value.status, asked) == (503, [404, 429, 503])
        assert server.count() == 3

    def broken(status: int) -> bool:
        raise LookupError(status)

    with (
        Scripted(Answer("", 404, {})) as server,
        EventSource(server.url, method="GET", on_status=broken) as source,
    ):
        with pytest.raises(LookupError):
            texts(source)
        # It counts as no answer.
        with pytest.raises(ClientResponseError):
            texts(source)
    with pytest.raises(ArgumentError):
        EventSource("http://127.0.0.1", strict=True, on_status=on_status)


def test_each_connection_is_made_with_what_the_host_says_then() -> None:
    with Scripted(Answer(WHOLE)) as server, Scripted(Answer(WHOLE)) as other:
        answers = iter([SourceRequest(token="t0"), None, SourceRequest(other.url, "t2", {"X-A": 1})])

        def on_connect() -> SourceRequest | None:
            return next(answers)

        with EventSource(server.url, on_connect=on_connect, retry=0.001, backoff=(0.001, 0.001)) as source:
            assert [next(source).data for _ in range(9)] == ["Hel", "lo", "[DONE]"] * 3
        first, second = server.requests
        assert (first.headers["authorization"], "authorization" in second.headers) == ("Bearer t0", False)
        (third,) = other.requests
        assert (third.headers["authorization"], third.headers["x-a"]) == ("Bearer t2", "1")


def test_a_token_provider_that_fails_is_asked_again() -> None:
    tokens = iter(["first", LookupError("the vault is closed"), "second"])

    def provider() -> str:
        token = next(tokens)
        if isinstance(token, Exception):
            raise token
        return token

    with Scripted(Answer(WHOLE)) as server:
        options: dict[str, Any] = {"retry": 0.001, "backoff": (0.001, 0.001)}
        with EventSource(server.url, token_provider=provider, **options) as source:
            events = source.events()
            gone = [
                event for event, _ in zip(events, range(11), strict=False) if isinstance(event, Disconnected)
            ]
        assert [request.headers["authorization"] for request in server.requests[:2]] == [
            "Bearer first",
            "Bearer second",
        ]
        assert isinstance(gone[1].error, TokenProviderError)
        assert gone[1].reason == "the token provider failed: LookupError: the vault is closed"
        wrong: Any = lambda: 7  # noqa: E731
        with (
            EventSource(server.url, token_provider=wrong, max_tries=1) as source,
            pytest.raises(TokenProviderError, match="did not return a token"),
        ):
            next(source)
    with pytest.raises(ArgumentError):
        EventSource(server.url, token_provider=provider, on_connect=SourceRequest)


def test_a_question_that_was_interrupted_is_asked_again() -> None:
    asked: list[int] = []

    def provider() -> str:
        asked.append(1)
        if len(asked) == 1:
            raise KeyboardInterrupt
        return "t"

    with (
        Scripted(Answer(WHOLE)) as server,
        EventSource(server.url, **PROMPT, token_provider=provider) as source,
    ):
        with pytest.raises(KeyboardInterrupt):
            next(source)
        assert texts(source) == ["Hel", "lo", "[DONE]"]
        assert (len(asked), server.count()) == (2, 1)


def test_async(run: Test) -> None:
    async def read(source: AsyncEventSource) -> list[str]:
        return [message.data async for message in source]

    async def test() -> None:
        with Scripted(Answer(WHOLE)) as server:
            async with AsyncEventSource(server.url, **PROMPT) as source:
                async for message in source:
                    if message.data == "[DONE]":
                        break
                    await asyncio.to_thread(soon, lambda: source.state.name == "closed")
                assert server.count() == 1
            source = AsyncEventSource(server.url, **PROMPT)
            assert await read(source) == ["Hel", "lo", "[DONE]"]
            assert source.ended == Closed(None)
            assert server.count() == 2
        with Scripted(Answer("data: a\n\n", end="cut"), Answer(WHOLE)) as server:
            async with AsyncEventSource(server.url, **PROMPT) as source:
                with pytest.raises(NetworkError) as caught:
                    await read(source)
            assert (caught.value.messages, server.count()) == (1, 1)
        with Scripted(Answer("data: a\n\n", end="hold"), Answer(WHOLE)) as server:
            async with AsyncEventSource(server.url, **PROMPT) as source:
                assert (await source.next(PATIENCE)).data == "a"
                reader = asyncio.create_task(read(source))
                await asyncio.sleep(0)
                reader.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await reader
                assert server.count() == 1
            assert server.count() == 1
        with Scripted(Answer("", 429, {"Retry-After": "1"}), Answer(WHOLE)) as server:
            async with AsyncEventSource(server.url, **PROMPT) as source:
                assert await read(source) == ["Hel", "lo", "[DONE]"]
            assert server.count() == 2

    run(test())


def test_async_functions_are_awaited_and_survive_a_cancellation(run: Test) -> None:
    async def test() -> None:
        wanted, may = asyncio.Event(), asyncio.Event()
        asked: list[int] = []

        async def provider() -> str:
            wanted.set()
            await may.wait()
            return "t"

        async def on_status(status: int) -> bool:
            asked.append(status)
            await asyncio.sleep(0)
            return len(asked) < 2

        with Scripted(Answer("", 404, {})) as server:
            async with AsyncEventSource(
                server.url, **PROMPT, token_provider=provider, on_status=on_status
            ) as source:
                reader = asyncio.create_task(source.next())
                await wanted.wait()
                reader.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await reader
                may.set()
                with pytest.raises(ClientResponseError):
                    await source.next()
            assert (asked, server.count()) == ([404, 404], 2)
            assert [request.headers["authorization"] for request in server.requests] == ["Bearer t"] * 2

    run(test())
