"""A seeded, in-process simulation of the path of an event: real cores, a modelled world (I1 to I4, I9).

One `random.Random(seed)` drives everything: no clock, no threads, no sleeping. Time is virtual.

    world     virtual time, and what happens next
    database  Redis as mesh.store uses it: scripts, expiry; may fail before or after a step took
              effect, run one twice, be emptied, or go back to what it was
    stream    JetStream: stores in any order, late, once for each message id; acks get lost
    clients   origins with credit that resend what was not acked (mesh.client.outbox), and a relay
    ingests   ingest.session, .check, .coalesce
    workers   aggregate.partition, .loading and mesh.store's PartitionStore: leases, takeovers, flushes
    catalog   opens topics, closes and seals a poll
    scene     the games and topics of a history, and what actors do there
    oracle    the naive count, event by event, of what the stream holds
    history   plays one seed, and checks the invariants along the way and at the end

The model of Redis stands for the real one because one contract suite runs against both
(tests/test_store_contract.py).
"""
