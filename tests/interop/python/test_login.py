"""Logging in: signup, challenge, solution, result; and what goes wrong on the way."""

import hashlib

from coincurve import PrivateKey, PublicKey

from client import AUTH, CHALLENGE, METADATA, RESULT, RULES, SOLUTION, sign
from harness import (
    SERVERS,
    challenged,
    check,
    close_code,
    dial,
    error,
    fails_for_its_host,
    sign_ecdsa,
    solve,
)

# The order of secp256k1.
ORDER = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141


@check
async def a_signup_is_challenged_solved_and_followed_by_new_rules_all_sealed():
    async with await dial("plain") as client:
        user = {"displayName": "Ada", "bio": "Counts."}
        await client.send(AUTH, {"method": "signup", "user": user, "pubKey": client.identity})
        challenge = await client.receive()
        assert challenge.t == CHALLENGE and challenge.sealed
        assert len(bytes.fromhex(challenge.data["challenge"])) == 32
        assert challenge.data["schemes"] == ["mida-v1", "ecdsa"]
        assert challenge.data["expiresIn"] == 60000

        solution = sign(client.secret, client.host, challenge.data["challenge"])
        await client.send(SOLUTION, {"scheme": "mida-v1", "solution": solution})
        result = await client.receive()
        assert result.t == RESULT and result.sealed
        assert result.data["passed"] is True
        assert result.data["user"] == {"displayName": "Ada", "unreadMessages": 0}

        rules = await client.receive()
        assert rules.t == RULES and rules.sealed
        assert rules.data["perms"] == ["metadata", "send", "topic.join", "topic.publish"]

        await client.send(METADATA)
        metadata = await client.receive()
        assert metadata.t == METADATA and metadata.sealed


@check
async def a_key_that_signed_up_logs_in_again():
    secret = PrivateKey().secret
    for wishes in {"method": "signup"}, {"method": "login"}, {}:
        async with await dial("plain", secret) as client:
            assert "displayName" in await client.log_in(**wishes)


@check
async def plain_ecdsa_passes_over_the_challenge_and_over_its_hash():
    for hasher in None, lambda message: hashlib.sha256(message).digest():
        for scheme in {}, {"scheme": "ecdsa"}:
            async with await dial("plain") as client:
                challenge = bytes.fromhex((await challenged(client))["challenge"])
                solution = sign_ecdsa(client.secret, challenge, hasher)
                assert (await solve(client, solution.hex(), **scheme))["passed"]
                assert (await client.receive()).t == RULES


@check
async def ecdsa_with_a_high_s_or_over_the_hex_does_not_pass():
    async with await dial("plain") as client:
        challenge = (await challenged(client))["challenge"]
        low = sign_ecdsa(client.secret, bytes.fromhex(challenge))
        high = low[:32] + (ORDER - int.from_bytes(low[32:])).to_bytes(32)
        over_hex = sign_ecdsa(client.secret, hashlib.sha256(challenge.encode()).digest())
        for solution in high, over_hex:
            result = await solve(client, solution.hex())
            assert (result["passed"], result["reason"]) == (False, "bad_signature")
        assert (await solve(client, low.hex()))["passed"]


@check
async def an_uncompressed_or_uppercase_key_is_the_same_identity():
    for form in (
        lambda key: key.format(compressed=False).hex(),
        lambda key: key.format(compressed=False).hex().upper(),
        lambda key: key.format().hex().upper(),
    ):
        async with await dial("plain") as client:
            key = PublicKey(bytes.fromhex(client.identity))
            challenge = (await client.request(AUTH, {"pubKey": form(key)}))["challenge"]
            solution = sign(client.secret, client.host, challenge)  # signs the compressed one
            assert (await solve(client, solution.upper(), scheme="mida-v1"))["passed"]


@check
async def three_failures_count_down_and_close():
    async with await dial("plain") as client:
        await challenged(client)
        for left in 2, 1, 0:
            await client.send(SOLUTION, {"scheme": "mida-v1", "solution": "00" * 64})
            event = await client.receive()
            assert event.t == RESULT and event.sealed
            assert event.data == event.data | {
                "passed": False,
                "reason": "bad_signature",
                "attemptsLeft": left,
            }
        assert await close_code(client) == 4003


@check
async def a_second_auth_is_out_of_order():
    async with await dial("plain") as client:
        challenge = (await challenged(client))["challenge"]
        await client.send(AUTH, {"pubKey": client.identity})
        assert (await error(client, "auth_order", AUTH)).sealed
        solution = sign(client.secret, client.host, challenge)
        assert (await solve(client, solution, scheme="mida-v1"))["passed"]
        assert (await client.receive()).t == RULES
        await client.send(AUTH, {"pubKey": client.identity})
        await error(client, "auth_order", AUTH)


@check
async def a_solution_without_a_challenge_is_out_of_order():
    async with await dial("plain") as client:
        await client.send(SOLUTION, {"solution": "00" * 64})
        assert not (await error(client, "auth_order", SOLUTION)).sealed
        await client.log_in()
        await client.send(SOLUTION, {"solution": "00" * 64})
        assert (await error(client, "auth_order", SOLUTION)).sealed


@check
async def a_bad_key_seals_nothing_and_may_be_corrected():
    async with await dial("plain") as client:
        x = client.identity[2:]
        for key in "no hex", "", x, "02" + x + "00", "06" + x + x, "00", "02" + "ff" * 32:
            await client.send(AUTH, {"pubKey": key})
            assert not (await error(client, "bad_key", AUTH)).sealed
        await client.log_in()


@check
async def bad_data_seals_nothing_and_may_be_corrected():
    async with await dial("plain") as client:
        key = client.identity
        for data in (
            {},
            {"pubKey": 7},
            {"pubKey": key, "method": "guess"},
            {"pubKey": key, "method": None},
            {"pubKey": None},
            {"pubKey": key, "user": None},
            {"pubKey": key, "user": []},
            {"pubKey": key, "user": {"displayName": 7}},
            {"pubKey": key, "user": {"displayName": None}},
            {"pubKey": key, "user": {"bio": None}},
            {"pubKey": key, "user": {"displayName": "x" * 65}},
            {"pubKey": key, "user": {"bio": "x" * 1025}},
        ):
            await client.send(AUTH, data)
            assert not (await error(client, "bad_data", AUTH)).sealed
        await client.ws.send(f'{{"t":2,"data":{{"pubKey":"{key}","pubKey":"{key}"}}}}')
        await error(client, "bad_data", AUTH)
        user = {"displayName": "\U0001f600" * 64, "bio": "ß" * 1024, "unknown": None}
        assert (await client.log_in(user=user))["displayName"] == user["displayName"]


@check
async def requests_behind_a_login_wait_for_it():
    async with await dial("plain") as client:
        await client.send(METADATA)
        await client.send(AUTH, {"pubKey": client.identity})
        await client.send(METADATA)
        events = [await client.receive() for _ in range(3)]
        assert [e.t for e in events] == [METADATA, CHALLENGE, METADATA]
        assert [e.sealed for e in events] == [False, True, True]

        solution = sign(client.secret, client.host, events[1].data["challenge"])
        await client.send(SOLUTION, {"scheme": "mida-v1", "solution": solution})
        await client.send(METADATA)
        events = [await client.receive() for _ in range(3)]
        assert [e.t for e in events] == [RESULT, RULES, METADATA]


@check
async def the_own_hosts_of_the_server_log_in_and_no_other():
    port = SERVERS["plain"]["url"].rsplit(":", 1)[1]
    for host in f"127.0.0.1:{port}", f"localhost:{port}":
        async with await dial("plain") as client:
            client.host = host
            await client.log_in()
    for host in "elsewhere.example", "localhost":
        async with await dial("plain") as client:
            client.host = host
            await fails_for_its_host(client)


@check
async def whatever_is_wrong_with_a_solution_a_result_says_so_and_the_challenge_stays():
    some = '"solution":"' + "00" * 64 + '"'
    for data, reason in (
        ('"solution":"no hex","scheme":"mida-v1"', "bad_signature"),
        ('"solution":"' + "00" * 63 + '","scheme":"mida-v1"', "bad_signature"),
        ("", "bad_signature"),
        ('"scheme":"mida-v1"', "bad_signature"),
        ('"solution":7', "bad_signature"),
        ('"solution":null', "bad_signature"),
        (some + ',"scheme":7', "bad_signature"),
        (some + ',"scheme":null', "bad_signature"),
        (some + "," + some, "bad_signature"),
        (some + ',"scheme":"ecdsa","scheme":"ecdsa"', "bad_signature"),
        ('"scheme":"mida-v9"', "bad_signature"),
        (some + ',"scheme":"mida-v9"', "bad_scheme"),
        (some + ',"scheme":""', "bad_scheme"),
    ):
        async with await dial("plain") as client:
            challenge = (await challenged(client))["challenge"]
            await client.ws.send(f'{{"t":4,"data":{{{data}}}}}')
            event = await client.receive()
            assert event.t == RESULT, (data, event)
            assert event.data == {"passed": False, "reason": reason, "attemptsLeft": 2}, data
            solution = sign(client.secret, client.host, challenge)
            assert (await solve(client, solution, scheme="mida-v1"))["passed"]


@check
async def malformed_solutions_use_up_the_attempts():
    async with await dial("plain") as client:
        await challenged(client)
        for left in 2, 1, 0:
            await client.send(SOLUTION, {"scheme": "mida-v1"})
            assert (await client.receive()).data["attemptsLeft"] == left
        assert await close_code(client) == 4003


@check
async def a_bad_envelope_is_no_solution_and_costs_no_attempt():
    async with await dial("plain") as client:
        await challenged(client)
        for text in '{"t":4,"data":null}', '{"t":4,"data":[]}', '{"t":4,"data":{},"data":{}}':
            await client.ws.send(text)
            assert (await error(client, "bad_envelope", SOLUTION)).sealed
        assert (await solve(client, "00" * 64))["attemptsLeft"] == 2
        for _ in range(6):  # with the three above, nine strikes
            await client.ws.send('{"t":4,"data":null}')
            await error(client, "bad_envelope", SOLUTION)
        await client.ws.send('{"t":4,"data":null}')
        assert await close_code(client) == 4000


@check
async def what_is_out_of_order_is_so_whatever_its_data():
    auths = {}, {"pubKey": 7}, {"pubKey": "no hex"}, {"pubKey": None, "user": None}, {"method": "x"}
    solutions = {}, {"solution": 7}, {"solution": "no hex"}, {"solution": None}, {"scheme": "x"}

    async def all_out_of_order(client, t, all_data):
        for data in all_data:
            await client.send(t, data)
            await error(client, "auth_order", t)

    async with await dial("plain") as client:
        await all_out_of_order(client, SOLUTION, solutions)
        challenge = (await challenged(client))["challenge"]
        await all_out_of_order(client, AUTH, auths)
        solution = sign(client.secret, client.host, challenge)
        assert (await solve(client, solution, scheme="mida-v1"))["passed"]
        assert (await client.receive()).t == RULES
        await all_out_of_order(client, AUTH, auths)
        await all_out_of_order(client, SOLUTION, solutions)
