import msgspec

from roadbed.gateway.ledger.record import Begin, End, UsageRow, settle, settle_lost
from tests.gateway.ledger.records import begin, end


def test_records_survive_their_encoding() -> None:
    decode = msgspec.msgpack.Decoder(Begin | End).decode
    for record in (begin("a"), end("a")):
        assert decode(msgspec.msgpack.encode(record)) == record


def test_a_row_has_every_field_of_both_ends() -> None:
    opened, ended = begin("a"), end("a")
    row = settle(opened, ended)
    for name in UsageRow.__struct_fields__:
        source = {"began_at": opened.at, "ended_at": ended.at}.get(name)
        if source is None:
            source = getattr(ended, name) if name in End.__struct_fields__ else getattr(opened, name)
        assert getattr(row, name) == source


def test_what_died_with_its_worker_is_an_estimate_free_of_charge() -> None:
    row = settle_lost(begin("a", prompt=77))
    assert (row.outcome, row.prompt_tokens, row.estimated, row.cost_pico, row.status) == ("worker_lost", 77, True, 0, 0)
