"""A connection that lives on: sealing, heartbeats, pushes, the end."""

import asyncio
import os
import signal
import time
from pathlib import Path

import ecies
from coincurve import PrivateKey
from cryptography.exceptions import InvalidTag
from websockets.asyncio.client import ClientConnection
from websockets.frames import Opcode

from client import METADATA, RULES, Opener, sign
from harness import SERVERS, challenged, check, close_code, dial, error, solve


@check
async def the_key_of_an_epoch_is_remembered_and_gives_what_the_stock_library_gives():
    async with await dial("plain") as client:  # `dial` compares every message
        await client.log_in()
        for _ in range(5):
            await client.request(METADATA)
        opener = client.opener
        assert len(opener.points) == 8
        assert len(set(opener.points)) < 8, "no ephemeral key was used twice"
        assert opener.points[-1] in opener.keys


@check
async def the_memory_holds_the_last_two_epochs():
    key = PrivateKey()
    opener = Opener(key.secret)
    sealed = [ecies.encrypt(key.public_key.format(), b"{}") for _ in range(3)]
    for raw in sealed:
        assert opener.open(raw) == b"{}"
    assert list(opener.keys) == [raw[:65] for raw in sealed[1:]]


@check
async def what_was_tampered_with_does_not_open():
    key = PrivateKey()
    opener = Opener(key.secret)
    sealed = ecies.encrypt(key.public_key.format(), b"{}")
    for at in 0, 1, 64, 65, 81, 97:
        tampered = bytearray(sealed)
        tampered[at] ^= 1
        assert refuses(opener.open, bytes(tampered))
        assert not opener.keys
    assert refuses(opener.open, sealed[:96])
    assert opener.open(sealed) == b"{}"


@check
async def a_client_refuses_text_after_a_sealed_message():
    async with await dial("plain") as client:
        assert refuses(client.events_of, '{"t":3,"data":{}}')
        client.events_of('{"t":0,"data":{}}')
        await client.log_in()
        assert refuses(client.events_of, '{"t":0,"data":{}}')


def refuses(function, argument):
    try:
        function(argument)
    except (ValueError, InvalidTag):
        return True


class Watched(ClientConnection):
    """Counts Pings, and answers them or not."""

    answers = True

    def __init__(self, protocol, **options):
        super().__init__(protocol, **options)
        self.pings = asyncio.Queue()
        send_frame = protocol.send_frame
        protocol.send_frame = lambda frame: (
            None if frame.opcode is Opcode.PONG and not self.answers else send_frame(frame)
        )

    def process_event(self, event):
        if getattr(event, "opcode", None) is Opcode.PING:
            self.pings.put_nowait(event)
        super().process_event(event)


class Deaf(Watched):
    answers = False


@check
async def who_answers_heartbeats_stays():
    async with await dial("heartbeat", create_connection=Watched) as client:
        assert client.rules["hb"] == 300
        for _ in range(3):
            await client.ws.pings.get()
        assert "name" in await client.request(METADATA)


@check
async def who_does_not_answer_heartbeats_is_closed():
    async with await dial("heartbeat", create_connection=Deaf) as client:
        start = time.monotonic()
        assert await close_code(client) == 4008
        assert time.monotonic() - start < 3 * 0.300 + 0.5  # slack for a busy machine


@check
async def a_changed_note_is_pushed_to_everybody():
    await note_is_pushed("reload")


@check
async def a_changed_note_is_pushed_in_a_batch_where_batching_is_on():
    await note_is_pushed("reload-batching")


async def note_is_pushed(name):
    async with await dial(name) as stranger, await dial(name) as member:
        await member.log_in()
        assert (await member.request(METADATA))["note"] == "before"
        reload(name, 'note = "before"', 'note = "after"')
        for client in stranger, member:
            event = await client.receive()
            assert (event.t, event.sealed) == (METADATA, client is member)
            assert event.data["note"] == "after"
            await nothing_more_is_pushed(client)


@check
async def changed_rules_are_pushed_and_no_metadata_with_them():
    async with await dial("reload") as stranger, await dial("reload") as member:
        await member.log_in()
        reload("reload", "heartbeat = 30000", "heartbeat = 20000")
        for client in stranger, member:
            perms = client.rules["perms"]
            event = await client.receive()
            assert (event.t, event.sealed) == (RULES, client is member)
            assert (client.rules["hb"], client.rules["perms"]) == (20000, perms)
            await nothing_more_is_pushed(client)


@check
async def a_login_under_way_goes_on_when_a_reload_changes_how_keys_are_taken():
    async with await dial("reload") as client:
        challenge = (await challenged(client))["challenge"]
        reload("reload", 'auth = "signature"', 'auth = "key"')
        event = await client.receive()
        assert (event.t, event.data["auth"], event.sealed) == (RULES, "key", True)
        solution = sign(client.secret, client.host, challenge)
        assert (await solve(client, solution, scheme="mida-v1"))["passed"]


@check
async def a_reload_that_changes_nothing_for_a_connection_pushes_nothing():
    async with await dial("reload") as client:
        reload("reload", "batching = false", "batching = true")  # for connections to come
        while True:
            async with await dial("reload") as later:
                if later.batching:
                    break
        await nothing_more_is_pushed(client)
        assert client.rules["batching"] is False


def reload(name, before, after):
    """Changes a line of this server's file and lets it read the file again."""
    server = SERVERS[name]
    config = Path(server["config"])
    text = config.read_text()
    assert before in text
    config.write_text(text.replace(before, after))
    os.kill(server["pid"], signal.SIGHUP)


async def nothing_more_is_pushed(client):
    await client.send(77)
    await error(client, "unknown_event", 77)


@check
async def a_server_that_is_stopped_says_it_goes_away():
    async with await dial("stopped") as stranger, await dial("stopped") as member:
        await member.log_in()
        os.kill(SERVERS["stopped"]["pid"], signal.SIGTERM)
        assert await close_code(stranger) == await close_code(member) == 1001
