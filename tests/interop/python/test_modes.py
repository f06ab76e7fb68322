"""What an operator can set: how a login is taken, and in what time."""

import asyncio
import contextlib
import time

from websockets.exceptions import ConnectionClosed

from client import AUTH, METADATA, RESULT, RULES, SOLUTION, Refused, sign
from harness import (
    challenged,
    check,
    close_code,
    dial,
    error,
    fails_for_its_host,
    sign_ecdsa,
    solve,
)


@check
async def a_server_that_is_bound_only_takes_no_ecdsa():
    async with await dial("bound") as client:
        challenge = await challenged(client)
        assert challenge["schemes"] == ["mida-v1"]
        solution = sign_ecdsa(client.secret, bytes.fromhex(challenge["challenge"])).hex()
        for left, scheme in (2, {}), (1, {"scheme": "ecdsa"}):
            assert await solve(client, solution, **scheme) == {
                "passed": False,
                "reason": "bad_scheme",
                "attemptsLeft": left,
            }
        solution = sign(client.secret, client.host, challenge["challenge"])
        assert (await solve(client, solution, scheme="mida-v1"))["passed"]


@check
async def with_auth_key_the_result_comes_at_once():
    async with await dial("key") as client:
        assert (client.rules["auth"], client.rules["perms"]) == ("key", ["metadata", "auth"])
        await client.send(AUTH, {"pubKey": client.identity, "user": {"displayName": "Ada"}})
        result, rules = await client.receive(), await client.receive()
        assert (result.t, result.sealed) == (RESULT, True)
        assert result.data["passed"] is True
        assert result.data["user"] == {"displayName": "Ada", "unreadMessages": 0}
        assert (rules.t, rules.sealed, rules.data["perms"]) == (RULES, True, ["metadata"])
        for data in {"solution": "00" * 64}, {}:
            await client.send(SOLUTION, data)
            await error(client, "auth_order", SOLUTION)
        for data in {"pubKey": client.identity}, {}:
            await client.send(AUTH, data)
            await error(client, "auth_order", AUTH)


@check
async def a_proven_key_is_online_and_one_that_is_not_proven_is_not():
    for server, online in ("public", 1), ("key", 0):
        async with await dial(server) as client:
            client.host = "chat.example"
            await client.log_in()
            await asyncio.sleep(1)  # `online` may be that old
            assert (await client.request(METADATA))["online"] == online


@check
async def who_does_not_log_in_in_time_is_closed_and_who_does_stays():
    for server in "required", "key-required":
        async with await dial(server) as member, await dial(server) as stranger:
            assert member.rules["authWithin"] == 2000
            await member.log_in()
            assert await close_code(stranger) == 4004
            assert "name" in await member.request(METADATA)


@check
async def what_has_no_limit_shows_the_largest_number():
    async with await dial("unlimited") as client:
        assert client.rules["maxMessage"] == client.rules["maxBatch"] == 2**32 - 1
        assert (await challenged(client))["expiresIn"] == 2**53 - 1
        for left in 2**32 - 2, 2**32 - 3:
            assert (await solve(client, "00" * 64))["attemptsLeft"] == left


@check
async def a_challenge_expires_and_the_connection_stays_sealed():
    async with await dial("expiring") as client:
        challenge = await challenged(client)
        assert challenge["expiresIn"] == 400
        event = await client.receive()
        assert (event.t, event.sealed) == (RESULT, True)
        assert event.data == {"passed": False, "reason": "expired", "attemptsLeft": 0}
        solution = sign(client.secret, client.host, challenge["challenge"])
        await client.send(SOLUTION, {"scheme": "mida-v1", "solution": solution})
        assert (await error(client, "auth_order", SOLUTION)).sealed
        await client.send(AUTH, {"pubKey": client.identity})
        await error(client, "auth_order", AUTH)
        await client.send(METADATA)
        assert (await client.receive()).sealed


@check
async def where_a_login_is_required_an_expired_challenge_closes():
    async with await dial("expiring-required") as client:
        await challenged(client)
        assert (await client.receive()).data["reason"] == "expired"
        assert await close_code(client) == 4004


@check
async def a_server_with_a_public_host_takes_that_one_only():
    async with await dial("public") as client:
        await fails_for_its_host(client)
    async with await dial("public") as client:
        client.host = "chat.example"
        await client.log_in()


@check
async def an_announced_maintenance_is_in_the_metadata():
    async with await dial("maintenance") as client:
        assert 0 < (await client.request(METADATA))["maintenanceIn"] <= 3_600_000


@check
async def a_login_over_the_rate_seals_nothing_and_may_be_repeated():
    async with contextlib.AsyncExitStack() as stack:
        data = None
        while data is None:
            client = await stack.enter_async_context(await dial("crowded"))
            try:
                await challenged(client)
            except Refused as refused:
                data = refused.data
        assert data == data | {"code": "rate_limited", "re": AUTH, "retry": "backoff"}
        assert not client.sealed
        await asyncio.sleep(data["retryAfter"] / 1000)  # what the server asks for
        await client.log_in()


@check
async def a_late_solution_passes_or_is_out_of_order_after_the_expiry():
    expired = [False, "auth_order", "unknown_event"]
    await late_solutions_end("expiring", [True, RULES, "unknown_event"], expired)


@check
async def where_a_login_is_required_a_late_solution_passes_or_finds_the_connection_closed():
    await late_solutions_end("expiring-required", [True, RULES, "unknown_event"], [False, 4004])


async def late_solutions_end(server, *expected):
    """Solves challenges around their expiry and expects one of these lists of answers each time."""

    async def late(delay_s):
        async with await dial(server) as client:
            challenge = await challenged(client)
            expiry = time.monotonic() + challenge["expiresIn"] / 1000
            solution = sign(client.secret, client.host, challenge["challenge"])
            await asyncio.sleep(expiry + delay_s - time.monotonic())
            answers = []
            with contextlib.suppress(ConnectionClosed):
                await client.send(SOLUTION, {"scheme": "mida-v1", "solution": solution})
                await client.send(77)  # its answer comes last
            try:
                while "unknown_event" not in answers:
                    event = await client.receive()
                    answers.append(event.data.get("passed", event.data.get("code", event.t)))
            except ConnectionClosed as closed:
                answers.append(closed.rcvd and closed.rcvd.code)
            return answers

    for answers in await asyncio.gather(*[late(ms / 1000) for ms in range(-30, 30)]):
        assert answers in expected, answers
