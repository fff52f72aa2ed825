"""Tokens at a real edge: who is let through, what the others are told, and keys that change (I10)."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http.server
import json
import ssl
import struct
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio

from grandstand.gateway.v1 import gateway_pb2 as gateway
from grandstand.gateway.v1 import gateway_pb2_grpc
from grandstand.ingest.v1 import ingest_pb2 as ingest
from grandstand.ingest.v1 import ingest_pb2_grpc
from mesh.auth import mint
from mesh.auth.claims import MESH_AUDIENCE
from mesh.auth.keys import SigningKey, parse_signing_keys
from mesh.envoy import tokens
from mesh.envoy.bootstrap import bootstrap
from mesh.envoy.config import Endpoint, EnvoyConfig, JwksFile, JwksUrl, Keys, SecretFile, SocketPath
from mesh.envoy.contract import KINDS, clusters_of
from mesh.envoy.tokens import FILE_REFRESH_S
from mesh.http2.call import CLIENT_CONTEXT
from tests.support.certificates import Certificates
from tests.support.games import run
from tests.support.servers import eventually
from tests.support.supervision import PATIENT, supervised
from toolbox.local import provision
from toolbox.local.home import Home
from toolbox.local.keys import write_whole
from toolbox.local.ports import Ports
from toolbox.local.spec import EnvoyProbe, ProcessSpec

LOOPBACK = "127.0.0.1"
ANSWER_S = 10.0
SEND = "/grandstand.gateway.v1.GatewayService/Send"
WAY_OUT = "send a good token as metadata authorization: Bearer <JWT>"


def signing_key(kid: str, seed: int = 1) -> SigningKey:
    (key,) = parse_signing_keys(json.dumps(mint.ed25519_jwk(kid, bytes([seed]) * 32)).encode())
    return key


def jwks(*kids: str, seed: int = 1) -> str:
    keys = [mint.public_jwk(mint.ed25519_jwk(kid, bytes([seed]) * 32)) for kid in kids]
    return json.dumps({"keys": keys})


def token(key: SigningKey, *, age_s: float = 0.0, **claims: Any) -> str:
    return mint.token(key, actor_id="ann", now_s=time.time() - age_s, life_s=60.0, **claims)


def unsigned() -> str:
    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    claims = {"sub": "ann", "aud": "grandstand", "exp": int(time.time()) + 60}
    return f"{part({'alg': 'none', 'kid': 'a'})}.{part(claims)}.{part({})}"


class Behind(gateway_pb2_grpc.GatewayServiceServicer, ingest_pb2_grpc.IngestServiceServicer):
    """Gateway and ingest, who note the authorization that reached them."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str | None]] = []
        self.contexts: list[dict[str, str]] = []
        """What came of trace contexts, with each call."""

    def _note(self, name: str, context: grpc.aio.ServicerContext) -> None:
        metadata = {key: str(value) for key, value in context.invocation_metadata() or ()}
        self.seen.append((name, metadata.get("authorization")))
        self.contexts.append({key: value for key, value in metadata.items() if "trace" in key})

    async def IssueGuest(
        self, request: gateway.IssueGuestRequest, context: grpc.aio.ServicerContext
    ) -> gateway.IssueGuestResponse:
        self._note("IssueGuest", context)
        return gateway.IssueGuestResponse(token="t")

    async def IssueOrigin(
        self, request: gateway.IssueOriginRequest, context: grpc.aio.ServicerContext
    ) -> gateway.IssueOriginResponse:
        self._note("IssueOrigin", context)
        return gateway.IssueOriginResponse(origin_id="v1")

    async def Send(
        self, request: gateway.SendRequest, context: grpc.aio.ServicerContext
    ) -> gateway.SendResponse:
        self._note("Send", context)
        return gateway.SendResponse()

    async def Publish(
        self, requests: AsyncIterator[ingest.PublishRequest], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[ingest.PublishResponse]:
        self._note("Publish", context)
        async for _ in requests:
            yield ingest.PublishResponse(heartbeat=ingest.Heartbeat())


class Edge:
    """A real Envoy with stand-ins behind it."""

    def __init__(self, address: str, channel: grpc.aio.Channel, behind: Behind) -> None:
        self.address = address
        self.behind = behind
        self._gateway: Any = gateway_pb2_grpc.GatewayServiceStub(channel)
        self.ingest: Any = ingest_pb2_grpc.IngestServiceStub(channel)

    async def send(self, bearer: str | None) -> tuple[grpc.StatusCode, str]:
        return await _outcome(
            self._gateway.Send(gateway.SendRequest(), metadata=_metadata(bearer), timeout=ANSWER_S)
        )

    async def issue_origin(self, bearer: str | None) -> tuple[grpc.StatusCode, str]:
        return await _outcome(
            self._gateway.IssueOrigin(
                gateway.IssueOriginRequest(), metadata=_metadata(bearer), timeout=ANSWER_S
            )
        )

    async def issue_guest(self, bearer: str | None) -> tuple[grpc.StatusCode, str]:
        return await _outcome(
            self._gateway.IssueGuest(
                gateway.IssueGuestRequest(), metadata=_metadata(bearer), timeout=ANSWER_S
            )
        )

    async def publish(self, bearer: str | None) -> tuple[grpc.StatusCode, str]:
        """Blocking, in a thread: grpc.aio calls it INTERNAL when it is refused while it still writes."""

        def ask() -> tuple[grpc.StatusCode, str]:
            with grpc.insecure_channel(self.address) as channel:
                stub: Any = ingest_pb2_grpc.IngestServiceStub(channel)
                beats = iter([ingest.PublishRequest(heartbeat=ingest.Heartbeat())])
                call = stub.Publish(beats, metadata=_metadata(bearer), timeout=ANSWER_S)
                with contextlib.suppress(grpc.RpcError):
                    list(call)
                return call.code(), call.details()

        return await asyncio.to_thread(ask)

    async def send_from_browser(self, bearer: str | None, **headers: str) -> tuple[int, str, dict[str, str]]:
        """gRPC-Web over HTTP/1.1: (grpc-status, grpc-message, the answer's headers)."""

        def ask() -> tuple[int, str, dict[str, str]]:
            connection = HTTPConnection(self.address, timeout=ANSWER_S)
            try:
                body = struct.pack(">BI", 0, 0)
                sent = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1", **headers}
                sent |= {"authorization": f"Bearer {bearer}"} if bearer is not None else {}
                connection.request("POST", SEND, body=body, headers=sent)
                answer = connection.getresponse()
                found = {name.lower(): value for name, value in answer.getheaders()}
                text = answer.read()
                if "grpc-status" not in found:  # In the trailers, the last frame of the body.
                    frame = text[text.rindex(b"\x80") + 5 :].decode()
                    found |= dict(line.split(":", 1) for line in frame.splitlines() if line)
                return int(found["grpc-status"]), unquote(found.get("grpc-message", "")), found
            finally:
                connection.close()

        return await asyncio.to_thread(ask)


def _metadata(bearer: str | None) -> list[tuple[str, str]]:
    return [] if bearer is None else [("authorization", f"Bearer {bearer}")]


async def _outcome(call: Any) -> tuple[grpc.StatusCode, str]:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details() or ""
    return grpc.StatusCode.OK, ""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.create()
    return home


@contextlib.asynccontextmanager
async def edge(home: Home, keys: Keys, issuer: str = "") -> AsyncIterator[Edge]:
    behind = Behind()
    server = grpc.aio.server()
    gateway_pb2_grpc.add_GatewayServiceServicer_to_server(behind, server)
    ingest_pb2_grpc.add_IngestServiceServicer_to_server(behind, server)
    health = health_aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    for service in ("gateway.v1.GatewayService", "ingest.v1.IngestService"):
        await health.set(f"grandstand.{service}", health_pb2.HealthCheckResponse.SERVING)
    with contextlib.closing(Ports()) as ports:
        at = Endpoint(LOOPBACK, ports.take())
        server.add_insecure_port(f"{LOOPBACK}:{at.port}")
        await server.start()
        config = EnvoyConfig(
            edge=Endpoint(LOOPBACK, ports.take()),
            mesh=Endpoint(LOOPBACK, ports.take()),
            admin=SocketPath(str(home.envoy_admin)),
            replicas=dict.fromkeys(KINDS, (at,)),
            keys=keys,
            issuer=issuer,
        )
        path = home.run / "envoy.json"
        path.write_text(json.dumps(bootstrap(config)))
        spec = ProcessSpec(
            name="envoy",
            command=(
                *(str(provision.envoy()), "-c", str(path), "--disable-hot-restart", "--concurrency", "2"),
                *("--log-level", "warning"),
            ),
            probe=EnvoyProbe(home.envoy_admin, clusters_of("gateway", "ingest")),
        )
        address = f"{LOOPBACK}:{config.edge.port}"
        async with supervised(home, spec, policy=PATIENT), grpc.aio.insecure_channel(address) as channel:
            yield Edge(address, channel, behind)
        await server.stop(None)


def key_file(home: Home, *kids: str) -> JwksFile:
    write_whole(home.jwks, jwks(*kids))
    return JwksFile(str(home.jwks))


def bad_tokens() -> dict[str, tuple[str | None, str]]:
    """Tokens that no edge lets through, each with what its bearer is told."""
    good = token(signing_key("a"))
    head, payload, signature = good.split(".")
    return {
        "none": (None, "Jwt is missing"),
        "expired": (token(signing_key("a"), age_s=75.0), "Jwt is expired"),
        "unknown key": (token(signing_key("b", 2)), "Jwks doesn't have key to match kid"),
        "another's signature": (token(signing_key("a", 2)), "Jwt verification fails"),
        "altered": (f"{head}.{payload[:-2]}AA.{signature}", ""),
        "without an algorithm": (unsigned(), "alg"),
        "of the mesh": (token(signing_key("a"), audience=MESH_AUDIENCE), "Audiences in Jwt are not allowed"),
        "rubbish": ("rubbish", "Jwt is not in the form"),
    }


def test_i10_a_bad_token_is_unauthenticated_for_native_clients_and_browsers_and_reaches_nobody(
    home: Home,
) -> None:
    async def scenario() -> None:
        async with edge(home, key_file(home, "a")) as at:
            for name, (bearer, said) in bad_tokens().items():
                for code, message in (await at.send(bearer), await at.publish(bearer)):
                    assert code is grpc.StatusCode.UNAUTHENTICATED, (name, message)
                    assert said in message, name
                    assert message.endswith(WAY_OUT), name
                status, message, headers = await at.send_from_browser(bearer, origin="https://a.example")
                assert status == 16, name
                assert said in message, name
                assert headers["access-control-allow-origin"] == "https://a.example"
            assert at.behind.seen == []

    run(scenario())


def test_a_good_token_goes_through_to_the_service_with_the_call(home: Home) -> None:
    async def scenario() -> None:
        async with edge(home, key_file(home, "a", "b")) as at:
            good = token(signing_key("a"))
            barely = token(signing_key("b"), age_s=65.0)
            assert (await at.send(good))[0] is grpc.StatusCode.OK
            assert (await at.send_from_browser(good))[0] == 0
            assert (await at.publish(good))[0] is grpc.StatusCode.OK
            # Expired by less than the leeway for clocks.
            assert (await at.send(barely))[0] is grpc.StatusCode.OK
            assert at.behind.seen == [
                ("Send", f"Bearer {good}"),
                ("Send", f"Bearer {good}"),
                ("Publish", f"Bearer {good}"),
                ("Send", f"Bearer {barely}"),
            ]

    run(scenario())


def test_a_clients_trace_context_is_handed_on_under_a_name_that_nobody_follows_unasked(home: Home) -> None:
    async def scenario() -> None:
        async with edge(home, key_file(home, "a")) as at:
            good = token(signing_key("a"))
            own = f"00-{'a' * 32}-{'b' * 16}-01"
            await at.send_from_browser(good, traceparent=own, tracestate="a=b", baggage="c=d")
            await at.send_from_browser(good, **{CLIENT_CONTEXT: own})
            await at.send_from_browser(good)
            assert at.behind.contexts == [{CLIENT_CONTEXT: own}, {}, {}]

    run(scenario())


def test_who_only_watches_needs_no_token_but_may_not_show_a_bad_one(home: Home) -> None:
    async def scenario() -> None:
        async with edge(home, key_file(home, "a")) as at:
            good = token(signing_key("a"))
            assert (await at.issue_guest(None))[0] is grpc.StatusCode.OK
            assert (await at.issue_guest(good))[0] is grpc.StatusCode.OK
            assert at.behind.seen == [("IssueGuest", None), ("IssueGuest", f"Bearer {good}")]
            for name, (bearer, _) in bad_tokens().items():
                assert (await at.issue_origin(bearer))[0] is grpc.StatusCode.UNAUTHENTICATED, name
                code, _ = await at.issue_guest(bearer)
                wanted = grpc.StatusCode.OK if bearer is None else grpc.StatusCode.UNAUTHENTICATED
                assert code is wanted, name

    run(scenario())


def test_a_token_in_the_url_is_no_token(home: Home) -> None:
    async def scenario() -> None:
        async with edge(home, key_file(home, "a")) as at:

            def ask() -> str | None:
                connection = HTTPConnection(at.address, timeout=ANSWER_S)
                path = f"{SEND}?access_token={token(signing_key('a'))}"
                connection.request("POST", path, headers={"content-type": "application/grpc-web+proto"})
                answer = connection.getresponse()
                connection.close()
                return answer.getheader("grpc-status")

            assert await asyncio.to_thread(ask) == "16"

    run(scenario())


def test_the_issuer_must_be_the_one_that_was_named(home: Home) -> None:
    async def scenario() -> None:
        async with edge(home, key_file(home, "a"), issuer="https://platform.example") as at:
            right = token(signing_key("a"), issuer="https://platform.example")
            assert (await at.send(right))[0] is grpc.StatusCode.OK
            for wrong in (token(signing_key("a")), token(signing_key("a"), issuer="https://evil.example")):
                assert (await at.send(wrong))[0] is grpc.StatusCode.UNAUTHENTICATED

    run(scenario())


def test_a_development_key_is_taken_from_its_file_and_shown_to_nobody(home: Home) -> None:
    async def scenario() -> None:
        jwk = mint.development_jwk(b"d" * 32)
        write_whole(home.jwks, json.dumps({"keys": [jwk]}))
        (key,) = parse_signing_keys(json.dumps(jwk).encode())
        async with edge(home, SecretFile(str(home.jwks))) as at:
            assert (await at.send(token(key)))[0] is grpc.StatusCode.OK
            # Who signs by HS256 with what is public of another key gets nowhere either.
            assert (await at.send(token(signing_key("a"))))[0] is grpc.StatusCode.UNAUTHENTICATED

    run(scenario())


def test_keys_that_rotate_in_the_file_reach_the_edge_and_cut_nobody_off(home: Home) -> None:
    async def scenario() -> None:
        old, new = token(signing_key("old")), token(signing_key("new"))
        async with edge(home, key_file(home, "old")) as at:
            assert (await at.send(old))[0] is grpc.StatusCode.OK
            assert (await at.send(new))[0] is grpc.StatusCode.UNAUTHENTICATED
            open_call = at.ingest.Publish(metadata=_metadata(old), timeout=60.0)
            await open_call.write(ingest.PublishRequest(heartbeat=ingest.Heartbeat()))
            await open_call.read()

            key_file(home, "old", "new")
            await eventually(lambda: _is(at.send(new), grpc.StatusCode.OK), "the new key is known")
            assert (await at.send(old))[0] is grpc.StatusCode.OK
            began_s = time.monotonic()
            key_file(home, "new")
            await eventually(lambda: _is(at.send(old), grpc.StatusCode.UNAUTHENTICATED), "the old is not")
            assert time.monotonic() - began_s < 3 * FILE_REFRESH_S
            assert (await at.send(new))[0] is grpc.StatusCode.OK

            # An open stream lives on: ingest ends it when its token expires.
            await open_call.write(ingest.PublishRequest(heartbeat=ingest.Heartbeat()))
            assert isinstance(await open_call.read(), ingest.PublishResponse)
            open_call.cancel()

    run(scenario())


async def _is(outcome: Any, wanted: grpc.StatusCode) -> bool:
    return (await outcome)[0] is wanted


class KeyServer:
    """A platform's JWKS over https, or nobody there until `start`."""

    def __init__(self, port: int, certificates: Certificates, body: Callable[[], str]) -> None:
        self._port = port
        self._certificates = certificates
        self._body = body
        self._server: http.server.ThreadingHTTPServer | None = None

    def start(self) -> None:
        body = self._body

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                text = body().encode()
                self.send_response(200)
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer((LOOPBACK, self._port), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._certificates.chain, self._certificates.key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()


@pytest.fixture
def key_server(tmp_path: Path) -> Iterator[Callable[..., tuple[KeyServer, JwksUrl]]]:
    """A server for the name it is given in its certificate; it is asked for as localhost."""
    with contextlib.ExitStack() as stack:
        ports = stack.enter_context(contextlib.closing(Ports()))

        def make(name: str, body: Callable[[], str] = lambda: jwks("a")) -> tuple[KeyServer, JwksUrl]:
            certificates = Certificates.made(tmp_path / "certificates", name)
            port = ports.take()
            server = KeyServer(port, certificates, body)
            stack.callback(server.stop)
            return server, JwksUrl(f"https://localhost:{port}/jwks.json", str(certificates.authority))

        yield make


def test_keys_come_by_https_and_while_there_are_none_yet_a_token_may_be_tried_again(
    home: Home, key_server: Callable[..., tuple[KeyServer, JwksUrl]]
) -> None:
    async def scenario() -> None:
        server, url = key_server("localhost")
        async with edge(home, url) as at:
            code, message = await at.send(token(signing_key("a")))
            assert code is grpc.StatusCode.UNAVAILABLE
            assert message == "the keys of tokens cannot be fetched just now; try again"
            assert (await at.send(None))[0] is grpc.StatusCode.UNAUTHENTICATED
            assert (await at.issue_guest(None))[0] is grpc.StatusCode.OK
            server.start()
            good = token(signing_key("a"))
            await eventually(lambda: _is(at.send(good), grpc.StatusCode.OK), "the keys are there")
            assert (await at.send(token(signing_key("b"))))[0] is grpc.StatusCode.UNAUTHENTICATED
            # Once there are keys, they stay, also when the platform is away.
            server.stop()
            assert (await at.send(good))[0] is grpc.StatusCode.OK

    run(scenario())


def test_a_key_that_is_new_at_the_url_is_soon_known(
    home: Home,
    key_server: Callable[..., tuple[KeyServer, JwksUrl]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tokens, "URL_REFRESH_S", 0.5)
    published = ["a"]

    async def scenario() -> None:
        server, url = key_server("localhost", lambda: jwks(*published))
        server.start()
        async with edge(home, url) as at:
            old, new = token(signing_key("a")), token(signing_key("b"))
            assert (await at.send(new))[0] is grpc.StatusCode.UNAUTHENTICATED
            published.append("b")
            await eventually(lambda: _is(at.send(new), grpc.StatusCode.OK), "the new key is known")
            assert (await at.send(old))[0] is grpc.StatusCode.OK

    run(scenario())


def test_keys_from_a_server_with_another_name_are_not_taken(
    home: Home, key_server: Callable[..., tuple[KeyServer, JwksUrl]]
) -> None:
    async def scenario() -> None:
        server, url = key_server("other.example")
        server.start()
        async with edge(home, url) as at:
            assert (await at.send(token(signing_key("a"))))[0] is grpc.StatusCode.UNAVAILABLE

    run(scenario())
