"""Mistakes of a client: errors, strikes, rates, close codes."""

from client import CHALLENGE, ERROR, METADATA, RESULT, RULES
from harness import check, close_code, dial, error


@check
async def an_event_that_no_client_sends_is_unknown():
    async with await dial("plain") as client:
        for t in RULES, CHALLENGE, RESULT, 6, 127, ERROR, 136, 255:
            await client.send(t)
            await error(client, "unknown_event", t)
        assert "name" in await client.request(METADATA)


@check
async def what_is_no_json_is_bad_json():
    deep = '{"t":1,"data":{"a":' + "[" * 31 + "]" * 31 + "}}"
    for text in (
        "",
        "{",
        "{'t':1}",
        '{"t":1}x',
        '{"t":1}{"t":1}',
        '\ufeff{"t":1}',
        '{"t":1,"data":{"a":"\\ud800"}}',
        deep,
    ):
        async with await dial("plain") as client:
            await client.ws.send(text)
            await error(client, "bad_json", None)
            await client.ws.send(deep.replace("[]", ""))  # one less deep
            assert (await client.receive()).t == METADATA


@check
async def unknown_members_are_ignored():
    async with await dial("plain") as client:
        await client.ws.send('{"x":[null],"t":1,"data":{"pubKey":7},"id":8}')
        assert (await client.receive()).t == METADATA


@check
async def the_tenth_strike_closes():
    async with await dial("plain") as client:
        for _ in range(9):
            await client.ws.send("{")
            await error(client, "bad_json", None)
        await client.ws.send("{")
        assert await close_code(client) == 4000


@check
async def a_binary_message_closes():
    async with await dial("plain") as client:
        await client.ws.send(b'{"t":1}')
        assert await close_code(client) == 1003


@check
async def text_that_is_not_utf8_closes():
    async with await dial("plain") as client:
        await client.ws.send(b'{"t":1,"data":{"a":"\xff"}}', text=True)
        assert await close_code(client) == 1007


@check
async def the_largest_message_is_taken_and_a_larger_one_closes():
    async with await dial("plain") as client:
        largest = '{"t":1}'.ljust(client.rules["maxMessage"])
        await client.ws.send([largest[:7], largest[7:20000], largest[20000:]])  # in fragments
        assert (await client.receive()).t == METADATA
        await client.ws.send(largest + " ")
        assert await close_code(client) == 1009


@check
async def who_sends_too_much_is_told_to_wait_and_then_closed():
    async with await dial("plain") as client:
        for _ in range(250):
            await client.send(METADATA)
        taken = 0
        while (event := await client.receive()).t == METADATA:
            taken += 1
        assert taken >= 120
        assert event.data == event.data | {"code": "rate_limited", "re": 1, "retry": "backoff"}
        assert 0 < event.data["retryAfter"] <= 60000
        assert await close_code(client) == 4010


@check
async def what_is_no_message_is_a_bad_envelope_that_names_the_one_event_in_it():
    for text, re in (
        ("{}", None),
        ("[]", None),
        ("7", None),
        ("null", None),
        ('"t"', None),
        ('[{"t":1}]', None),
        ('{"data":{}}', None),
        ('{"t":null}', None),
        ('{"t":"1"}', None),
        ('{"t":1.0}', None),
        ('{"t":1e0}', None),
        ('{"t":-1}', None),
        ('{"t":256}', None),
        ('{"t":1,"t":1}', None),
        ('{"t":1,"t":"1","data":null}', None),
        ('{"t":"1","data":null}', None),
        ('{"t":0,"data":null}', 0),
        ('{"t":1,"data":null}', 1),
        ('{"t":1,"data":[]}', 1),
        ('{"data":7,"t":1}', 1),
        ('{"t":1,"data":{},"data":{}}', 1),
        ('{"t":255,"data":""}', 255),
    ):
        async with await dial("plain") as client:
            await client.ws.send(text)
            await error(client, "bad_envelope", re)
