"""What a real SMTP server does with what comes, as a test has it: takes, refuses, hangs up, dies."""

from __future__ import annotations

import asyncio
from typing import Any


class PostOffice:
    """What the server does with what comes."""

    def __init__(self) -> None:
        self.taken: list[Any] = []
        self.rcpt_says = "250 OK"
        self.mail_says = "250 OK"
        self.data_says = "250 OK"
        self.dies_in_data = 0
        self.slow = 0.0

    async def handle_MAIL(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: N802
        if self.mail_says.startswith("250"):
            envelope.mail_from = address
        return self.mail_says

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: N802
        await asyncio.sleep(self.slow)
        if self.rcpt_says.startswith("250"):
            envelope.rcpt_tos.append(address)
        return self.rcpt_says

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        if self.dies_in_data:
            self.dies_in_data -= 1
            server.transport.close()
            return "250 never heard"
        if self.data_says.startswith("250"):
            self.taken.append(envelope)
        return self.data_says
