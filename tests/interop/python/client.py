"""A Mida client. Section numbers refer to PROTOCOL.md."""

import hashlib
import ipaddress
import json
from collections import deque
from typing import NamedTuple
from urllib.parse import urlsplit

from coincurve import PrivateKey, PublicKey
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from websockets.asyncio.client import connect

RULES, METADATA, AUTH, CHALLENGE, SOLUTION, RESULT, ERROR = 0, 1, 2, 3, 4, 5, 128

# What answers a request, beside an error (3.3). An `auth` of "key" answers event 2 with 5 (6).
ANSWERS = {METADATA: {METADATA}, AUTH: {CHALLENGE, RESULT}, SOLUTION: {RESULT}}


class Event(NamedTuple):
    t: int
    data: dict
    sealed: bool


class Violation(Exception):
    """What arrived is no Mida, or an attack. The connection is closed."""


class Refused(Exception):
    """The server answered a request with an error (4.6) or a failed login (4.5): see `data`."""

    def __init__(self, data):
        super().__init__(data.get("code") or data.get("reason"))
        self.data = data


class Client:
    """One connection to a server. Make it with `connect`, and again for every reconnection."""

    def __init__(self, ws, host, secret, opener):
        self.ws, self.host, self.secret, self.opener = ws, host, secret, opener
        self.rules = None  # the newest ones
        self.batching = None  # fixed by the first rules (3.2)
        self.sealed = False
        self.arrived = deque()  # events of a batch that nobody took yet

    @classmethod
    async def connect(cls, url, secret, opener=None, **options):
        """Connects and waits for the rules. `secret` is 32 bytes; `options` go to `websockets`."""
        options = {"subprotocols": ["mida"], "ping_interval": None, "max_size": 2**20, **options}
        client = cls(await connect(url, **options), host_of(url), secret, opener or Opener(secret))
        try:
            await client.receive()
        except BaseException:
            await client.ws.close()
            raise
        return client

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self.ws.close()

    @property
    def identity(self):
        return PrivateKey(self.secret).public_key.format().hex()

    async def log_in(self, **wishes):
        """Logs in; `wishes` may be `method` and `user` (4.2). Returns the `user` of event 5."""
        answer = await self.request(AUTH, {"pubKey": self.identity, **wishes})
        if "challenge" in answer:  # not where the rules' `auth` is "key"
            if "mida-v1" not in answer["schemes"]:
                raise Violation("the server wants a signature that can be relayed")
            solution = sign(self.secret, self.host, answer["challenge"])
            answer = await self.request(SOLUTION, {"scheme": "mida-v1", "solution": solution})
        if not answer["passed"]:
            raise Refused(answer)
        await self.receive()  # the new rules
        return answer["user"]

    async def request(self, t, data=None):
        """Sends one request and returns the `data` of its answer."""
        await self.send(t, data)
        while not is_answer(event := await self.receive(), t):
            self.on_unasked(event)
        if event.t == ERROR:
            raise Refused(event.data)
        return event.data

    def on_unasked(self, event):
        """For subclasses: called with what arrives while `request` waits for something else."""

    async def send(self, t, data=None):
        await self.ws.send(json.dumps({"t": t, "data": data or {}}))

    async def send_batch(self, *requests):
        """Sends requests, each `(t, data)`, as one batch. Only where the first rules allow it."""
        messages = [{"t": t, "data": data} for t, data in requests]
        await self.ws.send(json.dumps({"count": len(messages), "data": messages}))

    async def receive(self):
        """The next event. Raises `websockets.ConnectionClosed` after the last one."""
        if not self.arrived:
            frame = await self.ws.recv()
            try:
                self.arrived.extend(self.events_of(frame))
            except Exception as error:
                await self.ws.close()
                raise Violation(str(error)) from error
        event = self.arrived.popleft()
        if event.t == RULES:
            self.rules = event.data
            self.ws.protocol.max_message_size = event.data["maxMessage"] + 1024  # (4.0)
        return event

    def events_of(self, frame):
        """Takes a WebSocket message apart: `bytes` are sealed, `str` is in the clear."""
        sealed = isinstance(frame, bytes)
        if self.sealed and not sealed:
            raise ValueError("a message in the clear after a sealed one")
        message = json.loads(self.opener.open(frame) if sealed else frame)
        self.sealed = sealed  # only now: it opened

        if ("count" in message) != bool(self.batching):
            raise ValueError("the rules say otherwise about batches")
        messages = message["data"] if self.batching else [message]
        if self.batching and not 1 <= len(messages) == message["count"] <= self.rules["maxBatch"]:
            raise ValueError("a batch of the wrong size")
        events = [Event(m["t"], m.get("data", {}), sealed) for m in messages]

        if self.batching is None:
            if events[0].t != RULES or sealed or events[0].data["v"] != 1:
                raise ValueError("not the rules of version 1")
            self.batching = events[0].data["batching"]
        if not sealed and any(e.t in (CHALLENGE, RESULT) for e in events):
            raise ValueError("a login in the clear")
        return events


def is_answer(event, request):
    """Whether an event answers the oldest request, given by its `t` (3.3). All else is unasked."""
    if event.t == ERROR:
        return event.data["re"] == request
    if event.t == RESULT and event.data.get("reason") == "expired":
        return False
    return event.t in ANSWERS.get(request, ())


def sign(secret, host, challenge):
    """The solution in scheme `mida-v1` (5.1), in hex."""
    key = PrivateKey(secret)
    text = "\n".join(["mida-auth-v1", host, challenge.lower(), key.public_key.format().hex()])
    return key.sign_schnorr(hashlib.sha256(text.encode()).digest()).hex()


def host_of(url):
    """HOST of a URL (5.2); right for ASCII names, full IPv4 and IPv6."""
    u = urlsplit(url)
    name = u.hostname  # lowercase, without brackets
    if ":" in name:
        name = f"[{ipaddress.IPv6Address(name).compressed}]"
    return name if u.port in (None, {"ws": 80, "wss": 443}[u.scheme]) else f"{name}:{u.port}"


class Opener:
    """Opens sealed messages and remembers the keys of the last two epochs (7.4)."""

    def __init__(self, secret):
        self.secret, self.keys = secret, {}

    def open(self, raw):
        if len(raw) < 97 or raw[0] != 4:
            raise ValueError("not a sealed message")
        p = raw[:65]
        gcm = self.keys.get(p)
        if gcm is None:
            s = PublicKey(p).multiply(self.secret).format(compressed=False)  # checks the curve
            gcm = AESGCM(HKDF(hashes.SHA256(), 32, None, b"").derive(p + s))
        text = gcm.decrypt(raw[65:81], raw[97:] + raw[81:97], None)  # raises if tampered with
        if p not in self.keys:  # remember it only now
            self.keys = dict(list(self.keys.items())[-1:] + [(p, gcm)])
        return text
