"""A seeded simulation of the whole path of an event, in one process (I1 to I6, I9).

The cores are the real ones, and most of the shells: they run on an asyncio loop in virtual time, one for
each process, over a modelled network, NATS and Redis. One `random.Random(seed)` drives everything: no real
clock, no threads, no sleeping.

    world      virtual time, and what happens next
    process    what stops, dies and comes back: its `loops`, its wall `clocks`, its BOOTTIME
    cuts       who cannot reach what; `calls` are requests over that network, `bus` models mesh.jetstream.bus
    nats       servers with clocks, and which of them leads
    stream     JetStream's events: dedupe, bounds, purges; loses its tail, is recreated
    bucket     the catalog's bucket: revisions, compare-and-set, watches that are late or dead
    redis      one primary or two, over `database`: the scripts of mesh.redis.scripts a second time
    writers    mesh.catalog.watch, aggregate.catalog, .control_publisher, .closer, and a host who asks them
    ingests    ingest.session, .intake, .check, .coalesce, .publisher
    workers    aggregate.worker, .lease_session, .lease, .retention, with `pulls` and `checkpoints`
    clients    origins with credit that resend what was not acked (grandstand.client.outbox), and a relay
    readers    mesh.redis.results.ResultStore and mesh.results_feed.view
    notifiers  notify.keeper, .scheduler, .evaluator, .sending, .readers, .segments, over `notice_streams` and
               `notice_scripts`; `notices` is what is told in a history, and to whom
    scene      the games and topics of a history, and what actors do there
    strikes    what breaks
    virtual    the modules of the shells, with virtual clocks and the modelled network in them
    oracle     the naive count of what the stream holds, by the rules of `naive`, read by `blocks`
    history    plays one seed, and checks along the way; `checks` at its end; `told` counts what happened

The model of Redis stands for the real one because one contract suite runs against both
(tests/aggregate/test_store_contract.py, tests/notify/test_script_contract.py).
"""
