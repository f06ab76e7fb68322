"""What an operator can set: how a login is taken, and in what time."""

import asyncio
import contextlib
import time

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
        assert client.rules["auth"] == "key"
        perms = client.rules["perms"]
        await client.send(AUTH, {"pubKey": client.identity, "user": {"displayName": "Ada"}})
        result, rules = await client.receive(), await client.receive()
        assert (result.t, result.sealed) == (RESULT, True)
        assert result.data["passed"] is True
        assert result.data["user"] == {"displayName": "Ada", "unreadMessages": 0}
        assert (rules.t, rules.sealed, rules.data["perms"]) == (RULES, True, perms)
        await client.send(SOLUTION, {"solution": "00" * 64})
        await error(client, "auth_order", SOLUTION)
        await client.send(AUTH, {"pubKey": client.identity})
        await error(client, "auth_order", AUTH)
        assert "name" in await client.request(METADATA)


@check
async def who_does_not_log_in_in_time_is_closed_and_who_does_stays():
    async with await dial("required") as member, await dial("required") as stranger:
        assert member.rules["authWithin"] == 2000
        await member.log_in()
        assert await close_code(stranger) == 4004
        assert "name" in await member.request(METADATA)


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
async def a_solution_at_the_last_moment_passes_or_is_out_of_order_after_the_expiry():
    async def late(delay_s):
        async with await dial("expiring") as client:
            challenge = await challenged(client)
            expiry = time.monotonic() + challenge["expiresIn"] / 1000
            solution = sign(client.secret, client.host, challenge["challenge"])
            await asyncio.sleep(expiry + delay_s - time.monotonic())
            await client.send(SOLUTION, {"scheme": "mida-v1", "solution": solution})
            await client.send(77)  # its answer comes last
            answers = []
            while "unknown_event" not in answers:
                event = await client.receive()
                answers.append(event.data.get("passed", event.data.get("code", event.t)))
            return answers

    outcomes = await asyncio.gather(*[late(ms / 1000) for ms in range(-30, 30)])
    for answers in outcomes:
        assert answers in (
            [True, RULES, "unknown_event"],
            [False, "auth_order", "unknown_event"],
        ), answers
