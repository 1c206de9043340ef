"""The pages: server-rendered, live by server-sent events, whole without JavaScript and without a network."""

from daemon.web.dashboard.pages import Dashboard

__all__ = ["Dashboard"]
