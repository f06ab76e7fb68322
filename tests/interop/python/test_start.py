"""The worked examples, connecting, rules and metadata."""

from coincurve import PublicKeyXOnly
from websockets.exceptions import InvalidStatus

from client import METADATA, Opener, host_of, sign
from harness import SERVERS, check, dial


@check
async def the_worked_signature_verifies_and_so_does_our_own():
    secret = bytes.fromhex("dcd25cfbae2ede5f4dbf2b90e3858f2b7abeb9b26fe99331f2f7c827f7be9692")
    digest = bytes.fromhex("c63d5617e95755b512278b7cfd8c086fc8a4252c3e5fcc108bfb48e53f263310")
    challenge = "53dd5095c60ba8c1d7772fd290b5c9b18fd8d148511cf4442f8d958fa7e5a828"
    theirs = (
        "6c3cfd646139d457f14930b634a3f74376a3733023df6f66c70f0892cc928dd6"
        "3523ae6a63e57e89efbc75f5c543b56e5e94341fd56d9e3e53413b54d5917d08"
    )
    key = PublicKeyXOnly.from_secret(secret)
    for solution in theirs, sign(secret, "chat.example", challenge):
        assert key.verify(bytes.fromhex(solution), digest)


@check
async def the_worked_sealed_message_opens():
    secret = bytes.fromhex("c0c987e48b6c9b67cb211aaab1dda32081ae03e888f76e0bbb8d754b21f827ac")
    sealed = bytes.fromhex(
        "04babef323498969339526126ed734337aaf6cae156789e3a98d67a0c374e1e168"
        "26e76b25de2089d88a2c500ba558698de0af16b4f652672418927a239c7e8ec0"
        "362388bbc3851bb86518ba25fcc38f37"
        "36628719024a5e38ce9465c4f6b014e3"
        "1a5662b2fb6d5648f2d408b9ba0dab6c543be09988abc79030a644c2"
    )
    assert Opener(secret).open(sealed) == b'{"t": 7, "data": {"k": "v"}}'


@check
async def the_host_is_what_a_browser_makes_of_the_url():
    for url, host in {
        "ws://LOCALHOST:7700/a?b": "localhost:7700",
        "wss://Chat.Example:443/x": "chat.example",
        "wss://chat.example:80": "chat.example:80",
        "ws://[0:0:0:0:0:0:0:1]:7700/": "[::1]:7700",
        "wss://chat.example.:8443": "chat.example.:8443",
    }.items():
        assert host_of(url) == host


@check
async def the_first_rules_come_alone_and_in_the_clear():
    async with await dial("plain") as client:  # `connect` refuses sealed and batched ones
        assert client.rules == client.rules | {
            "v": 1,
            "hb": 30000,
            "perms": ["metadata", "auth"],
            "batching": False,
            "auth": "signature",
            "authWithin": 0,
            "maxMessage": 65536,
            "maxBatch": 64,
            "ext": ["msg"],
        }
        await client.send(METADATA)
        assert (await client.receive()).t == METADATA


@check
async def metadata_comes_in_the_clear_before_a_login():
    async with await dial("plain") as client:
        await client.send(METADATA, {"ignored": [1, {}]})
        event = await client.receive()
        assert event.t == METADATA and not event.sealed
        assert isinstance(event.data["name"], str)
        assert event.data["online"] >= 0 and event.data["uptime"] >= 0
        assert "maintenanceIn" not in event.data


@check
async def the_subprotocol_mida_is_selected_where_it_is_offered():
    for offered, selected in (
        (["mida"], "mida"),
        (["other", "mida"], "mida"),
        (["other"], None),
        (None, None),
    ):
        async with await dial("plain", subprotocols=offered) as client:
            assert client.ws.subprotocol == selected


@check
async def compression_is_declined():
    async with await dial("plain", compression="deflate") as client:
        assert "Sec-WebSocket-Extensions" not in client.ws.response.headers


@check
async def a_foreign_origin_is_refused_and_the_own_one_taken():
    async with await dial("plain", origin="http://" + host_of(SERVERS["plain"]["url"])):
        pass
    try:
        async with await dial("plain", origin="https://elsewhere.example"):
            raise AssertionError("let in")
    except InvalidStatus as refused:
        assert refused.response.status_code == 403
