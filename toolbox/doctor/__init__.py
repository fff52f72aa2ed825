"""What is wrong with a mesh, its stores and this machine, and what to do: `grandstand doctor`.

    machine, nats_facts, redis_facts, certificates, mesh_facts ──▶ facts ──▶ judge ──▶ findings

Collectors ask and judge nothing; `judge` is pure. Each collector ends within a bound of its own, whatever
hangs: what did not answer is a fact, too.
"""
