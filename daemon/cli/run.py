"""`duly run`: the daemon."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
from pathlib import Path

import anyio
import structlog

from daemon import __version__, logs
from daemon.cli.common import ConfigOption, configuration, fail, open_database, run_async, start_embedded
from daemon.config import Config, ConfigError, load_config
from daemon.runtime import Runtime
from daemon.supervisor import Systemd, TooManyDeaths

log = structlog.get_logger(__name__)

# Python's garbage collector looks at the young objects when there are so many more, instead of 700.
_COLLECT_AFTER = 10_000


def run(config: ConfigOption = None) -> None:
    """Run the daemon until SIGTERM. SIGHUP reloads the TOML."""
    settings = configuration(config)
    logs.configure(settings.daemon.log_level, settings.daemon.log_format)
    try:
        run_async(lambda: serve(settings, config))
    except TooManyDeaths as error:
        fail(f"{error}: {error.__cause__}" if error.__cause__ else str(error))


async def serve(settings: Config, path: Path | None) -> None:
    """Runs a daemon to its orderly end. Raises `TooManyDeaths`."""
    embedded = await start_embedded(settings)
    try:
        dsn = None if embedded is not None else lambda: _present_dsn(settings, path)
        runtime = Runtime(settings, open_database(settings, embedded, dsn))
        await runtime.start()
        _collect_seldom()
        try:
            await _supervise(runtime, path)
        finally:
            await runtime.close()
    finally:
        if embedded is not None:
            await anyio.to_thread.run_sync(embedded.stop)


def _collect_seldom() -> None:
    """Keeps Python's garbage collector from holding up what is due.

    A full collection looks at every object and takes 60 ms at a hundred thousand of them; modules and what else was
    made by now, half of all, need not be looked at again. Next to nothing we do leaves cycles behind.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, *gc.get_threshold()[1:])


async def _supervise(runtime: Runtime, path: Path | None) -> None:
    systemd = Systemd()
    loop = asyncio.get_running_loop()
    reloads: set[asyncio.Task[None]] = set()
    one_at_a_time = asyncio.Lock()

    async def reload() -> None:
        async with one_at_a_time:
            await _reload(runtime, path, systemd)

    def begin_reload() -> None:
        task = asyncio.create_task(reload())
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    def stop() -> None:
        systemd.stopping()
        runtime.supervisor.stop()

    loop.add_signal_handler(signal.SIGTERM, stop)
    loop.add_signal_handler(signal.SIGINT, stop)
    loop.add_signal_handler(signal.SIGHUP, begin_reload)

    async def started() -> None:
        listening = asyncio.create_task(runtime.web.listening.wait())
        stopped = asyncio.create_task(runtime.supervisor.stopped())
        await asyncio.wait([listening, stopped], return_when=asyncio.FIRST_COMPLETED)
        listening.cancel()
        stopped.cancel()
        if not runtime.web.listening.is_set():
            return
        systemd.ready(f"listening on {runtime.web.url}")
        log.info("started", version=__version__, page=runtime.web.url)

    watchdog = asyncio.create_task(systemd.watchdog())
    try:
        await runtime.supervisor.run(started)
    finally:
        watchdog.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watchdog
        systemd.close()
        log.info("stopped")


async def _reload(runtime: Runtime, path: Path | None, systemd: Systemd) -> None:
    """Makes the TOML as it is now live, or refuses it whole and says every line that is wrong."""
    systemd.reloading()
    try:
        config = await anyio.to_thread.run_sync(load_config, path)
    except ConfigError as error:
        for problem in error.problems:
            log.error(
                "reload refused",
                key=problem.path,
                line=problem.line,
                problem=problem.message,
                remedy=problem.remedy,
            )
        systemd.ready("a reload was refused; the configuration before it goes on")
        return
    try:
        await runtime.reload(config)
    except Exception:  # a platform that cannot be opened must not end those that work
        log.exception("reload failed; the configuration before it goes on")
        systemd.ready("a reload failed; the configuration before it goes on")
        return
    logs.configure(config.daemon.log_level, config.daemon.log_format)
    systemd.ready("reloaded")
    log.info("reloaded")


def _present_dsn(settings: Config, path: Path | None) -> str:
    """The DSN with the password that the TOML and its secrets say now, so that a rotated one takes effect by
    itself. Any other change of the DSN waits for a restart: one daemon must not work on two databases.
    """
    try:
        present = load_config(path).database
    except ConfigError:
        return settings.database.url.reveal()
    same = present.masked_url == settings.database.masked_url
    return (present if same else settings.database).url.reveal()
