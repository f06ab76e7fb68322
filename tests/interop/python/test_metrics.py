"""What the operator's page of metrics says, read by Prometheus's own parser."""

import asyncio
import re
from urllib.request import ProxyHandler, build_opener

from prometheus_client.parser import text_string_to_metric_families

from client import METADATA
from harness import SERVERS, check, dial, error


def scrape():
    """The page of the server `watched`, by family."""
    with open(SERVERS["watched"]["log"]) as log:
        admin = re.search(r"admin on (http://\S+)", log.read())[1]
    with build_opener(ProxyHandler({})).open(f"{admin}/metrics") as answer:
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        page = answer.read().decode()
    return page, {family.name: family for family in text_string_to_metric_families(page)}


def value(families, family, sample=None, **labels):
    """The sum of a family's samples with these labels, of all reactors."""
    found = [
        held.value
        for held in families[family].samples
        if held.name == (sample or family) and labels.items() <= held.labels.items()
    ]
    assert found, (family, sample, labels)
    return sum(found)


@check
async def prometheus_reads_the_metrics_and_they_count_what_was_done():
    async with await dial("watched") as client:
        await client.log_in()
        await client.request(METADATA)
        await client.send(77)
        await error(client, "unknown_event", 77)
        page, families = await asyncio.to_thread(scrape)

    # Nothing of the page is lost on the parser, and every family has samples, a type and a text.
    samples = sum(len(family.samples) for family in families.values())
    assert samples == sum(bool(line) and line[0] != "#" for line in page.splitlines())
    assert len(families) == page.count("# TYPE ") > 30
    for family in families.values():
        assert family.samples and family.documentation and family.type != "unknown", family

    def counted(family):
        assert families[family].type == "counter"
        return value(families, family, f"{family}_total")

    def held(family):
        assert families[family].type == "gauge"
        return value(families, family)

    assert value(families, "mida_connections", state="open") == 1
    assert counted("mida_accepted") == 1
    assert counted("mida_received_events") == 4
    # The rules, events 3 and 5, the new rules, event 1 and the error.
    assert counted("mida_sent_events") == 6
    assert counted("mida_derivations") == counted("mida_strikes") == 1
    assert counted("mida_panics") == counted("mida_closes") == 0
    assert held("mida_members") == held("mida_sealed_connections") == 1
    assert held("mida_reactor_up") == len(families["mida_reactor_up"].samples)

    assert families["mida_turn_seconds"].type == "histogram"
    count = value(families, "mida_turn_seconds", "mida_turn_seconds_count")
    assert value(families, "mida_turn_seconds", "mida_turn_seconds_bucket", le="+Inf") == count > 0
