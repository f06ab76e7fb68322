"""What an epoch seals, to its end and across it: messages that run.sh had made (examples/sealed.rs)."""

import json
import os

import ecies

from harness import check

with open(os.environ["SEALED_LINES"]) as lines:
    MESSAGES = [{name: bytes.fromhex(value) for name, value in json.loads(line).items()} for line in lines]


@check
async def every_message_across_two_rekeys_opens_with_the_stock_library():
    assert len(MESSAGES) >= 100
    for message in MESSAGES:
        assert ecies.decrypt(message["secret"].hex(), message["sealed"]) == message["plaintext"]
    sizes = {len(message["plaintext"]) for message in MESSAGES}
    assert min(sizes) == 0 and max(sizes) == 4096, sizes


@check
async def a_rekey_brings_another_ephemeral_key():
    points = [message["sealed"][:65] for message in MESSAGES]
    changes = sum(one != next for one, next in zip(points, points[1:]))
    assert len(set(points)) >= 3 and changes == len(set(points)) - 1, "an old one came back"


@check
async def no_nonce_comes_twice_under_one_ephemeral_key():
    pairs = {message["sealed"][:81] for message in MESSAGES}
    assert len(pairs) == len(MESSAGES)
