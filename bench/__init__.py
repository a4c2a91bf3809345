"""npserver side by side with its peers: the same work, in turn, in one run, on one core each.

`make bench` runs everything and writes `docs/benchmarks.md`; `make bench ARGS="--quick static"` a part of it, shortly.

workload    what is asked of a server, and which peers are asked the same: `bench/workloads/`
contender   a peer with one of its configs: `bench/peers/<peer>/<role>.*`
trial       one contender doing one workload once: started, warmed up, loaded, measured, stopped
load        the generator that asks: wrk, h2load, dnsperf, or our own over raw sockets, `bench/load/`
backend     what a proxy or relay passes on to
figure      what a trial is judged by: mostly requests per second of CPU time, of all processes of the server
"""
