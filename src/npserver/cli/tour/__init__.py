"""The demo, `npserver demo`: sample servers, a config that uses every handler, and a page to try each feature on.

The server runs in the main thread as any other does. The samples run on a loop in a thread; the page and what its
buttons do in threads of an HTTP server that the config proxies to.
"""
