"""What the checks stand on: the servers that run.sh started, and a line for each check."""

import asyncio
import json
import os
import traceback

import ecies
from coincurve import PrivateKey
from websockets.exceptions import ConnectionClosed

from client import AUTH, ERROR, SOLUTION, Client, Opener, Refused

SERVERS = json.loads(os.environ["SERVERS"])
CHECK_S = 20

checks = []


def check(function):
    """Registers a check; its name is the sentence that holds."""
    checks.append(function)
    return function


async def run():
    failed = 0
    for function in checks:
        name = function.__name__.replace("_", " ")
        try:
            async with asyncio.timeout(CHECK_S):
                await function()
            print(f"python  ok    {name}", flush=True)
        except Exception as error:
            failed += 1
            print(f"python  FAIL  {name}\n        {line_of(error)}\n        {error!r}", flush=True)
    print(f"python: {len(checks) - failed} passed, {failed} failed")
    return failed


def line_of(error):
    """The line of a check where it failed."""
    if isinstance(error, TimeoutError):
        error = error.__cause__  # of `asyncio.timeout`: what it interrupted
    for at in traceback.extract_tb(error.__traceback__):
        if "/test_" in at.filename:
            return f"{os.path.basename(at.filename)}:{at.lineno}: {at.line}"


class BothWays(Opener):
    """Opens by hand and with the stock library, and wants the same."""

    def __init__(self, secret):
        super().__init__(secret)
        self.points = []

    def open(self, raw):
        text = super().open(raw)
        assert text == ecies.decrypt(self.secret, raw)
        self.points.append(raw[:65])
        return text


async def dial(server, secret=None, **options):
    """A client of the server that run.sh started under this name, with a key of its own."""
    secret = secret or PrivateKey().secret
    url = SERVERS[server]["url"]
    return await Client.connect(url, secret, BothWays(secret), proxy=None, **options)


async def challenged(client):
    """Sends event 2 and gives the `data` of event 3."""
    return await client.request(AUTH, {"pubKey": client.identity})


async def solve(client, solution, **scheme):
    """Sends event 4 and gives the `data` of event 5."""
    return await client.request(SOLUTION, {"solution": solution, **scheme})


def sign_ecdsa(secret, message, hasher=None):
    """The signature in scheme `ecdsa` (5.3): 64 bytes; over `message` itself, or its hash."""
    return PrivateKey(secret).sign_recoverable(message, hasher)[:64]


async def fails_for_its_host(client):
    """Logs in with a signature that names a host the server does not go by."""
    try:
        await client.log_in()
    except Refused as refused:
        assert refused.data["reason"] in ("wrong_host", "bad_signature"), refused.data
        assert refused.data["attemptsLeft"] == 2, refused.data
    else:
        raise AssertionError("passed")


async def close_code(client):
    """Reads on until the server closes; gives its code."""
    try:
        while True:
            await client.receive()
    except ConnectionClosed as closed:
        assert closed.rcvd, "closed without a close frame"
        return closed.rcvd.code


async def error(client, code, re):
    """Expects this error as the next event and gives it."""
    event = await client.receive()
    assert event.t == ERROR, event
    assert (event.data["code"], event.data["re"]) == (code, re), event
    assert isinstance(event.data["msg"], str) and event.data["retry"] in ("no", "now", "backoff")
    return event
