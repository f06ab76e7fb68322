"""Batches, where the first rules say so and where not."""

import json

from client import AUTH, CHALLENGE, ERROR, METADATA
from harness import check, dial, error


@check
async def the_first_rules_are_in_no_batch_even_with_batching():
    async with await dial("batching") as client:  # `events_of` refuses others
        assert client.rules["batching"] is True


@check
async def with_batching_a_login_works_as_without():
    async with await dial("batching") as client:  # wants every message batched but the first rules
        assert client.batching is True
        assert "name" in await client.request(METADATA)
        await client.log_in(method="signup")
        assert client.rules["perms"] == ["metadata", "send", "topic.join", "topic.publish"]
        assert "name" in await client.request(METADATA)
        await client.send(77)
        await error(client, "unknown_event", 77)


@check
async def a_batch_is_answered_in_order_and_its_messages_stand_alone():
    async with await dial("batching") as client:
        await client.send_batch(
            (METADATA, {}), (77, {}), (METADATA, None), (AUTH, {"pubKey": client.identity}), (1, {})
        )
        events = [await client.receive() for _ in range(5)]
        assert [e.t for e in events] == [METADATA, ERROR, ERROR, CHALLENGE, METADATA]
        assert [e.data["code"] for e in events[1:3]] == ["unknown_event", "bad_envelope"]
        assert [e.data["re"] for e in events[1:3]] == [77, METADATA]
        assert [e.sealed for e in events] == [False, False, False, True, True]


@check
async def an_element_that_is_no_message_gets_its_error_and_the_others_count():
    async with await dial("batching") as client:
        for element in "7", "null", "[]", "{}", '{"t":1,"t":1}', '{"data":{}}':
            await client.ws.send(f'{{"count":2,"data":[{element},{{"t":1}}]}}')
            await error(client, "bad_envelope", None)
            assert (await client.receive()).t == METADATA


@check
async def a_wrong_batch_is_refused_whole():
    for batch in (
        '{"count":2,"data":[{"t":1}]}',
        '{"count":1,"data":[{"t":1},{"t":1}]}',
        '{"count":0,"data":[]}',
        '{"count":-1,"data":[{"t":1}]}',
        '{"count":1.0,"data":[{"t":1}]}',
        '{"count":"1","data":[{"t":1}]}',
        '{"count":null,"data":[{"t":1}]}',
        '{"count":1,"data":{"t":1}}',
        '{"count":1}',
        '{"count":1,"count":1,"data":[{"t":1}]}',
        '{"count":1,"data":[{"t":1}],"data":[{"t":1}]}',
        '{"count":2,"data":[{"t":1},{"count":1,"data":[{"t":1}]}]}',
        '{"count":2,"data":[{"t":1},{"t":1,"count":1}]}',
        '{"count":2,"data":[{"t":1},{"count":null}]}',
        json.dumps({"count": 65, "data": [{"t": 1}] * 65}),
    ):
        async with await dial("batching") as client:
            await client.ws.send(batch)
            await error(client, "bad_batch", None)
            assert "name" in await client.request(METADATA)


@check
async def the_largest_batch_is_taken():
    async with await dial("batching") as client:
        await client.send_batch(*[(METADATA, {})] * 64)
        for _ in range(64):
            assert (await client.receive()).t == METADATA


@check
async def without_batching_a_batch_right_or_wrong_is_refused_whole():
    async with await dial("plain") as client:
        for batch in '{"count":1,"data":[{"t":1}]}', '{"count":2,"data":[{"t":1}]}', '{"count":0}':
            await client.ws.send(batch)
            await error(client, "batching_disabled", None)
        assert "name" in await client.request(METADATA)


@check
async def a_batch_refused_whole_counts_as_one_message():
    async with await dial("plain") as client:
        for _ in range(100):  # 300 messages would be too many
            await client.send_batch(*[(METADATA, {})] * 3)
        for _ in range(100):
            await error(client, "batching_disabled", None)
        assert "name" in await client.request(METADATA)


@check
async def an_event_number_beside_a_count_is_a_bad_envelope_with_batching_or_without():
    for server in "plain", "batching":
        async with await dial(server) as client:
            for text in (
                '{"t":1,"count":1,"data":[{"t":1}]}',
                '{"t":1,"count":7,"data":{}}',
                '{"t":null,"count":null}',
                '{"count":1,"t":1,"t":1}',
            ):
                await client.ws.send(text)
                await error(client, "bad_envelope", None)
            assert "name" in await client.request(METADATA)
