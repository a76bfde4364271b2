"""The browser's way back from Assembly: the address that is opened, and the little server that its answer comes to."""

from __future__ import annotations

import secrets
import time
import webbrowser
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlsplit

from isams_pipeline.commands.common import console
from isams_pipeline.config import is_loopback
from isams_pipeline.errors import NotAuthorised, WrongUse
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.sources import assembly
from isams_pipeline.sources.assembly.settings import AssemblySettings

_WAIT = 300
"""Seconds that the redirect is waited for."""


def code_from_browser(environment: Environment, school: str) -> str:
    """Open Assembly's page and wait for the code that it sends the browser back with.

    Raises WrongUse where the answer goes to another machine, and NotAuthorised where none comes or the school says no.
    """
    settings = environment.settings.school(school).need(AssemblySettings)
    state = secrets.token_urlsafe()
    with assembly.connect(environment.access(school)) as client:
        address = client.tokens.authorise_url(state)
    console.print("A person of the school opens this address, logs in to Assembly and says yes:")
    console.print(address, soft_wrap=True)
    parts = urlsplit(settings.redirect_uri)
    if not is_loopback(parts.hostname) or parts.scheme != "http":
        raise WrongUse(
            "Assembly's answer goes to another machine (assembly.redirect_uri)",
            school=school,
            remedy=f"When the browser has arrived there, run `isams-pipeline connector authorise {school} --source "
            "assembly --code CODE`, with the code from its address.",
        )
    webbrowser.open(address)
    console.print(f"Waiting for the answer at {settings.redirect_uri} (at most {_WAIT // 60} minutes) …")
    return await_code(parts.hostname or "127.0.0.1", parts.port or 80, state)


def await_code(host: str, port: int, state: str, wait: float = _WAIT) -> str:
    """Listen for the redirect; gives its code.

    Raises NotAuthorised where none comes, the school says no, or an answer comes that was not asked for.
    """
    given: dict[str, str] = {}

    class Redirect(BaseHTTPRequestHandler):
        timeout = 5  # a browser may open a connection beforehand, and say nothing on it

        def do_GET(self) -> None:
            query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
            if "code" in query or "error" in query:
                given.update(query)
            well = given.get("state") == state and "code" in given
            self.send_response(200 if well else 400)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.end_headers()
            self.wfile.write(b"Done. This window can be closed." if well else b"This was not asked for.")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """The address holds the code: nothing is logged."""

    try:
        server = HTTPServer((host, port), Redirect)
    except OSError:
        raise WrongUse(f"Port {port} is taken", remedy="Free it, or give the code with --code.") from None
    give_up = time.monotonic() + wait
    with server:
        while not given and (left := give_up - time.monotonic()) > 0:  # a browser may ask for an icon first
            server.timeout = left
            server.handle_request()
    if not given:
        raise NotAuthorised("No answer came from the browser", remedy="Try again, or give the code with --code.")
    if given.get("state") != state or "code" not in given:
        said = "The school said no" if "error" in given else "The answer was not to what was asked"
        raise NotAuthorised(said, remedy="Try again, or give the code with --code.")
    return given["code"]
