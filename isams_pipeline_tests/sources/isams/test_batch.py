"""The Batch client against a real server on loopback."""

import logging
import ssl
from collections.abc import Iterator
from datetime import date

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import RedirectResponse
from starlette.routing import Route

from isams_pipeline.errors import (
    AccessRefused,
    DocumentError,
    InvalidKey,
    IsamsError,
    MethodsNotAllocated,
    NotBatchData,
    RequestRefused,
    ServerBusy,
    ServerTimeout,
    Throttled,
    TruncatedAnswer,
    Unavailable,
    UntrustedServer,
)
from isams_pipeline.sources.isams import messages
from isams_pipeline.sources.isams.batch import BatchClient, Credential, Patience, request_body
from isams_pipeline.sources.isams.connect import batch_client
from isams_pipeline.sources.isams.document import Message
from isams_pipeline.sources.shared.http import retry_after
from isams_pipeline_tests.certificates import make_certificate
from isams_pipeline_tests.world import HURRIED, SCHOOL, World

PUPILS = ["Pupil_GetCurrentPupils"]


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def client(world: World, waits: list[float]) -> Iterator[BatchClient]:
    with make_client(world, waits) as made:
        yield made


def make_client(world: World, waits: list[float], secret: str | None = None, key: str = "students") -> BatchClient:
    guid = next(k.guid for k in world.sandbox.schools[SCHOOL].keys if k.name == key)
    return BatchClient(
        f"{world.url}/{SCHOOL}",
        Credential(secret or guid),
        patience=HURRIED,
        sleep=waits.append,
        school=SCHOOL,
        key=key,
    )


def whole(chunks: Iterator[bytes]) -> bytes:
    return b"".join(chunks)


def test_data_arrives_whole(client: BatchClient):
    data = client.download(PUPILS, whole)
    assert data.startswith(b"<iSAMS>") and data.endswith(b"</iSAMS>")


def test_key_in_braces(world: World, waits: list[float]):
    guid = world.sandbox.schools[SCHOOL].keys[0].guid
    with make_client(world, waits, f"{{{guid}}}") as client:
        assert client.download(PUPILS, whole)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("deadlock", ServerBusy),
        ("lock_timeout", ServerBusy),
        ("server_timeout", ServerTimeout),
        ("message_200", ServerTimeout),
        ("unavailable", Unavailable),
        ("throttled_403", Throttled),
        ("throttled_429", Throttled),
        ("cut", TruncatedAnswer),
        ("short", TruncatedAnswer),
        ("empty", TruncatedAnswer),
    ],
)
def test_transient_fault_is_tried_again(world: World, client: BatchClient, waits: list[float], fault: str, error: type):
    world.sandbox.fail(SCHOOL, fault)
    assert client.download(PUPILS, whole).endswith(b"</iSAMS>")
    assert len(waits) == 1
    world.sandbox.fail(SCHOOL, fault, times=10)
    with pytest.raises(error) as caught:
        client.download(PUPILS, whole)
    assert caught.value.where["school"] == SCHOOL and caught.value.where["key"] == "students"
    assert len(world.sandbox.schools[SCHOOL].requests) == 2 + (2 if error is ServerTimeout else HURRIED.attempts)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("unhandled", IsamsError),
        ("ip_refused", AccessRefused),
        ("not_xml", DocumentError),
        ("wrong_root", NotBatchData),
    ],
)
def test_final_fault_is_not_tried_again(world: World, client: BatchClient, waits: list[float], fault: str, error: type):
    world.sandbox.fail(SCHOOL, fault)
    with pytest.raises(error):
        client.download(PUPILS, whole)
    assert waits == []


def test_retry_after_is_waited_for(world: World, client: BatchClient, waits: list[float]):
    world.sandbox.fail(SCHOOL, "throttled_429")
    client.download(PUPILS, whole)
    assert waits == [1.0]


def test_a_retry_after_beyond_patience_is_not_waited_for(world: World, waits: list[float]):
    patience = Patience(attempts=5, longest_wait=0.5)
    guid = world.sandbox.schools[SCHOOL].keys[0].guid
    world.sandbox.fail(SCHOOL, "throttled_429")
    with (
        BatchClient(f"{world.url}/{SCHOOL}", Credential(guid), patience=patience, sleep=waits.append) as client,
        pytest.raises(Throttled) as caught,
    ):
        client.download(PUPILS, whole)
    assert waits == [] and caught.value.retry_after == 1


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7.0), ("Tue, 10 Feb 2026 02:00:30 GMT", 30.0), ("soon", None), ("", None)]
)
def test_retry_after_as_number_or_date(world: World, header: str, seconds: float | None):
    assert retry_after({"retry-after": header}, world.moment[0]) == seconds


def test_unknown_key(world: World, waits: list[float]):
    with (
        make_client(world, waits, "00000000-0000-0000-0000-000000000000") as client,
        pytest.raises(InvalidKey, match="Active in iSAMS"),
    ):
        client.download(PUPILS, whole)


def test_key_that_is_no_guid(world: World, waits: list[float]):
    with make_client(world, waits, "not-a-guid") as client, pytest.raises(RequestRefused, match="complete GUID"):
        client.download(PUPILS, whole)


def test_method_that_the_key_lacks_is_named(client: BatchClient):
    with pytest.raises(MethodsNotAllocated, match="HumanResources_GetCurrentStaff") as caught:
        client.download([*PUPILS, "HumanResources_GetCurrentStaff"], whole)
    assert caught.value.methods == {"humanresources_getcurrentstaff"}


def test_method_that_wants_a_filter_gets_it(world: World, waits: list[float]):
    dated = request_body(["Cover_GetAllRoomClosuresAndCover", "Cover_GetAllLessonSuspensions"], date(2026, 2, 10))
    assert b'<AllRoomClosuresAndCover StartDate="2025-08-01" EndDate="2027-08-31"/>' in dated
    assert dated.count(b"<CoverManager>") == 1, "both filters are in one module node"
    assert b'<StudentManager><Contacts SystemStatusesToInclude="1"/>' in request_body(["ContactAdvanced_GetContacts"])
    with make_client(world, waits, key="contacts") as client:
        assert b"<Contact " in client.download(["ContactAdvanced_GetContacts"], whole)


def test_sandbox_refuses_that_method_without_a_filter(world: World):
    guid = next(k.guid for k in world.sandbox.schools[SCHOOL].keys if k.name == "contacts")
    answer = httpx.get(f"{world.url}/{SCHOOL}/api/batch/1.0/xml.ashx", params={"apiKey": guid})
    assert answer.status_code == 400 and b"FiltersRequiredException" in answer.content


def test_oauth_client_fetches_its_token_once_and_again_when_refused(world: World, waits: list[float]):
    key = world.sandbox.schools[SCHOOL].keys[0]
    key.client_secret = "s3cret"
    with BatchClient(
        f"{world.url}/{SCHOOL}", Credential("s3cret", client_id=key.guid), patience=HURRIED, sleep=waits.append
    ) as client:
        assert client.download(PUPILS, whole)
        world.sandbox.forget_tokens()
        assert client.download(PUPILS, whole)
    with (
        BatchClient(f"{world.url}/{SCHOOL}", Credential("wrong", client_id=key.guid)) as client,
        pytest.raises(InvalidKey, match="client"),
    ):
        client.download(PUPILS, whole)


def test_server_that_is_not_there(waits: list[float]):
    with (
        BatchClient("http://127.0.0.1:9", Credential("x" * 36), patience=HURRIED, sleep=waits.append) as client,
        pytest.raises(Unavailable),
    ):
        client.download(PUPILS, whole)
    assert len(waits) == HURRIED.attempts - 1


def test_redirects_are_not_followed(serve, waits: list[float]):
    async def away(_):
        return RedirectResponse("http://127.0.0.1:9/elsewhere")

    url = serve(Starlette(routes=[Route("/{path:path}", away, methods=["POST"])]))
    with BatchClient(url, Credential("x" * 36)) as client, pytest.raises(AccessRefused, match="redirects elsewhere"):
        client.download(PUPILS, whole)


def test_certificate_that_is_not_trusted(tls_server: str):
    with BatchClient(tls_server, Credential("x" * 36)) as client, pytest.raises(UntrustedServer, match="certificate"):
        client.download(PUPILS, whole)


@pytest.fixture
def tls_server(tmp_path) -> Iterator[str]:
    """A TLS server whose certificate nobody trusts."""
    import http.server
    import threading

    pem = make_certificate(tmp_path / "server.pem", "127.0.0.1")
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"https://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_no_secret_in_logs_or_errors(world: World, client: BatchClient, caplog: pytest.LogCaptureFixture):
    guid = world.sandbox.schools[SCHOOL].keys[0].guid
    with caplog.at_level(logging.DEBUG):
        client.download(PUPILS, whole)
        world.sandbox.fail(SCHOOL, "unhandled")
        with pytest.raises(IsamsError) as caught:
            client.download(PUPILS, whole)
    assert "xml.ashx" in caplog.text, "the client's own log is there"
    assert guid not in caplog.text + repr(caught.value) + repr(client.__dict__) + repr(Credential(guid))


def test_one_request_at_a_time_for_a_host(world: World):
    from concurrent.futures import ThreadPoolExecutor

    world.sandbox.fail(SCHOOL, "slow", times=2)

    def fetch(key: str) -> bytes:
        with batch_client(world.environment.access(SCHOOL), key) as client:
            return client.download(
                ["Pupil_GetCurrentPupils" if key == "students" else "HumanResources_GetCurrentStaff"], whole
            )

    with ThreadPoolExecutor() as pool:
        assert all(pool.map(fetch, ["students", "staff"]))
    assert world.sandbox.schools[SCHOOL].most_at_once == 1


def test_every_row_of_the_error_table():
    def kind(status: int | None, identifier: str = "", text: str = "") -> tuple[type, bool]:
        message = Message(identifier, "", text) if identifier else None
        error = messages.error_for(status, message)
        return type(error), error.retryable

    assert kind(403, "MethodsNotAllocatedToKeyException", "not allocated: a, b") == (MethodsNotAllocated, False)
    assert kind(401, "InvalidApiKey") == (InvalidKey, False)
    assert kind(400, "MissingParameter") == (RequestRefused, False)
    assert kind(500, "FiltersRequiredException") == (RequestRefused, False)
    assert kind(500, "UnhandledException", "was deadlocked on lock resources") == (ServerBusy, True)
    assert kind(500, "UnhandledException", "Lock request time out period exceeded.") == (ServerBusy, True)
    assert kind(500, "UnhandledException", "Data at the root level is invalid.") == (RequestRefused, False)
    assert kind(500, "UnhandledException", "something else") == (IsamsError, False)
    assert kind(200, "Whatever") == (ServerTimeout, True)
    assert [kind(status) for status in (408, 502, 503, 504)] == [
        (ServerTimeout, True),
        (Unavailable, True),
        (Unavailable, True),
        (ServerTimeout, True),
    ]
    assert kind(429) == (Throttled, True)
    assert kind(404) == (RequestRefused, False)
