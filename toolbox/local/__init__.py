"""Runs a set of processes as one thing: started by readiness, restarted within a budget, stopped in order.

The files, from the pure to the dirty:

* `spec`: what is to run, as data. Nothing here knows what a gateway is; `plan` alone does.
* `lifecycle`: the state machine of one process. Takes `now`, returns what to do.
* `grpc_health`: the bytes of a gRPC health check.
* `probe`: asks a process whether it is ready.
* `child`: one operating system process, its group, its pipe and its leash.
* `logfile`: a log of bounded size.
* `home`: the folder a mesh lives in, and the lock that says whether it does.
* `status`: what `status.json` says.
* `supervisor`: the asyncio shell that ties these together.
* `plan`: the mesh itself: which processes, with which arguments and configuration files.
* `keys`: whose tokens the mesh takes, and the files that say so.
* `stores`: the configuration files of NATS and Valkey.
* `dashboard`: where the tracing UI's program comes from.
* `session`: one `up`, from the lock to the last process gone.
* `errors`: what keeps a mesh from running, in one line.

Invariants:

* Nothing outlives the supervisor: every child is in a process group of its own, which is killed as a whole,
  and on Linux the kernel kills each child when the supervisor dies, even by SIGKILL.
* The supervisor has one thread and imports no grpc: a fork with grpc's threads running may deadlock, and
  the kernel's parent-death signal is tied to the thread that forked.
* A process is never restarted because what it needs is away: it waits for that first.
* The flock on `run/lock` is the only proof of life. A pid in a file proves nothing.

Rejected: systemd or supervisord (not on every machine, and neither knows gRPC health), and asyncio's own
subprocesses (on 3.11 they keep a thread for each child).
"""
