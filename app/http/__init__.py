"""The HTTP server: routes, bodies, connections. The only package that imports Starlette."""
