"""Say what the server would do with a request, a name or a connection, and why; check the tests in the config.

question      what is asked: a URL, a name, an address, and who asks
explanation   the answer: its steps, and what comes of it
expectation   an entry of `expect`: a question and what should come of it

A config is compiled as the server compiles it, and the fronts, routers, gates and name servers that would serve clients
are called. Nothing is sent, no socket is opened, and nothing is written.
"""
