"""`MailService`: the listeners, the platform behind them, reload and shutdown.

A reload reads the file again and makes the platform anew; attempts that have begun end with the old
one. If anything about the new one is wrong, the old one stays. Addresses change only by a restart.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import os
import shutil
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from inspect import isawaitable
from pathlib import Path

from aiohttp import web

from mfakit.core.secret import Secret
from mfakit.errors import ConfigurationError, MFAKitError
from mfakit.mail import journal
from mfakit.mail.http import make_app
from mfakit.mail.logins import Answer, LoginAttempt, MailLogins, Platform
from mfakit.mail.metrics import Metrics
from mfakit.mail.passwords import PasswordSource
from mfakit.mail.sasl import LINE_BYTES_MAX, SaslServer
from mfakit.mail.settings import Settings, Sockets, parse_address, read_key, read_settings

__all__ = ["MailService", "check_service", "load_platform", "run_service"]

Factory = Callable[[], Platform | Awaitable[Platform]]
BACKLOG = 512


class MailService:
    """The service in an event loop: `start`, then `reload` as often as needed, then `stop`.

    Args:
        path: The configuration file.
        make_platform: Makes the platform; by default what the file names.
    """

    def __init__(self, path: Path, make_platform: Factory | None = None) -> None:
        self._path = path
        self._make_platform = make_platform
        self._settings = read_settings(path)
        self._key: Secret | None = None
        self._logins: MailLogins | None = None
        self._problems: list[str] = []
        self._closing: set[asyncio.Task[None]] = set()
        self._runners: list[web.AppRunner] = []
        self._servers: list[asyncio.Server] = []
        self._paths: list[tuple[Path, int]] = []
        self.metrics: Metrics = Metrics()
        self.sasl: SaslServer = SaslServer(
            self.judge, connections_max=self._settings.sasl.connections_max
        )
        self._watch()

    async def prepare(self) -> None:
        """Make the platform. Raises `ConfigurationError` and what the platform's factory raises."""
        await self._renew(self._settings)

    async def check(self, login: str | None = None) -> list[str]:
        """Make the platform and return what its operator should know.

        Args:
            login: Whose account to name, or None.

        Raises:
            ConfigurationError: The file or the platform is wrong, or cannot be checked now.
        """
        await self._renew(self._settings, is_check=True)
        count = len(self._problems)
        lines = [*self._problems, f"Accounts with problems: {count}."] if count else []
        return lines if login is None else [*lines, await self._name_account(login)]

    async def start(self) -> None:
        """Make the platform and listen.

        Raises:
            ConfigurationError: The file, the platform or an address is wrong; the text says what.
        """
        await self.prepare()
        app = make_app(self.judge, key=lambda: self._key, metrics=self.metrics.show)
        runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=self._settings.shutdown_seconds
        )
        await runner.setup()
        self._runners.append(runner)
        for bound in self._bind(self._settings.http):
            await web.SockSite(runner, bound, backlog=BACKLOG).start()
        for bound in self._bind(self._settings.sasl):
            server = await asyncio.start_server(
                self.sasl.serve, sock=bound, limit=LINE_BYTES_MAX, backlog=BACKLOG
            )
            self._servers.append(server)
        journal.say("started", http=self._settings.http.listen, sasl=self._settings.sasl.listen)
        _notify("READY=1")

    async def reload(self) -> bool:
        """Read the file again and make the platform anew. False if that fails: the old one stays."""
        _notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            await self._renew(self._read_again())
        except Exception as error:
            text = str(error) if isinstance(error, MFAKitError) else None
            name = type(error).__name__
            journal.say("reload_failed", logging.ERROR, error=name, text=text)
            return False
        else:
            journal.say("reloaded")
            return True
        finally:
            _notify("READY=1")

    async def stop(self) -> None:
        """Listen no more, let attempts end, close the platform."""
        _notify("STOPPING=1")
        for server in self._servers:
            server.close()
        await self.sasl.aclose(self._settings.shutdown_seconds)
        for runner in self._runners:
            await runner.cleanup()
        for path, number in self._paths:
            with contextlib.suppress(OSError):
                if path.stat().st_ino == number:  # not the socket of a successor
                    path.unlink()
        if self._logins is not None:
            self._retire(self._logins)
        await asyncio.gather(*self._closing, return_exceptions=True)
        journal.say("stopped")

    async def judge(self, attempt: LoginAttempt) -> Answer:
        """Answer an attempt by the present platform; count it and log it."""
        if self._logins is None:
            raise ConfigurationError("The service was not started.")
        begun = time.monotonic()
        answer = await self._logins.judge(attempt)
        seconds = time.monotonic() - begun
        self.metrics.observe(attempt, answer, seconds)
        journal.log_attempt(attempt, answer, seconds)
        return answer

    # ------------------------------------------------------------------------------------- private

    def _read_again(self) -> Settings:
        settings = read_settings(self._path)
        # SECURITY: a socket that is open now must not lose its key by what the file says later.
        if _listeners(settings) != _listeners(self._settings):
            raise ConfigurationError("What is listened on changes by a restart only.")
        return settings

    async def _renew(self, settings: Settings, *, is_check: bool = False) -> None:
        key = read_key(settings)
        make = self._make_platform or load_platform(settings.platform)
        platform = make()
        if isawaitable(platform):
            platform = await platform
        if not isinstance(platform, Platform):
            raise ConfigurationError(f"{settings.platform} must return a mfakit.mail.Platform.")
        logins = MailLogins(
            platform,
            refusal_seconds=settings.refusal_seconds,
            attempt_seconds=settings.attempt_seconds,
            working_max=settings.working_max,
            held_max=settings.held_max,
        )
        try:
            self._problems = await _find_problems(platform, settings, is_check=is_check)
        except BaseException:
            self._retire(logins)
            raise
        old, self._key, self._logins = self._logins, key, logins
        if old is not None:
            self._retire(old)

    async def _name_account(self, login: str) -> str:
        if self._logins is None:
            raise ConfigurationError("The service was not started.")
        try:
            found = await self._logins.resolve(login)
        except MFAKitError:
            raise
        except Exception as error:
            raise _uncheckable(error) from error
        return f"{login}: no account" if found is None else f"{login}: account {found}"

    def _retire(self, logins: MailLogins) -> None:
        async def close() -> None:
            try:
                await logins.aclose()
            except Exception as error:
                journal.say("close_failed", logging.ERROR, error=type(error).__name__)

        task = asyncio.create_task(close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _bind(self, sockets: Sockets) -> Iterator[socket.socket]:
        for text in sockets.listen:
            address = parse_address(text)
            try:
                if isinstance(address, Path):
                    bound = _bind_path(address, int(sockets.mode, 8), sockets.group)
                    self._paths.append((address, address.stat().st_ino))
                else:
                    bound = _bind_port(*address)
            except (OSError, LookupError) as error:
                raise ConfigurationError(f"{text} cannot be listened on.") from error
            yield bound

    def _watch(self) -> None:
        watch = self.metrics.watch
        watch("mfakit_mail_working", "Attempts being decided.", lambda: self._now("working"))
        watch("mfakit_mail_held", "Answers that wait for their time.", lambda: self._now("held"))
        watch("mfakit_mail_sasl_connections", "SASL peers.", lambda: self.sasl.connections)

    def _now(self, name: str) -> int:
        return getattr(self._logins, name, 0)


def _listeners(settings: Settings) -> tuple[object, ...]:
    return settings.http.listen, settings.sasl, settings.http.key_file is None


def load_platform(name: str) -> Factory:
    """Return what "module:factory" names.

    Raises:
        ConfigurationError: There is no such module or attribute; its own errors are the cause.
    """
    module, _, path = name.partition(":")
    try:
        found: object = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except Exception as error:
        raise ConfigurationError(f"{name} cannot be imported: {type(error).__name__}.") from error
    if not callable(found):
        raise ConfigurationError(f"{name} is not callable.")
    return found


async def _find_problems(platform: Platform, settings: Settings, *, is_check: bool) -> list[str]:
    """Ask the ready password checks behind the platform what is wrong with their accounts.

    A database that does not answer must not keep the service from starting: its passcodes will work
    as soon as it answers. A check that was asked for says so.
    """
    functions = (platform.resolve_account, platform.check_password)
    owners = {id(owner): owner for owner in [getattr(one, "__self__", None) for one in functions]}
    sources = [owner for owner in owners.values() if isinstance(owner, PasswordSource)]
    try:
        async with asyncio.timeout(settings.attempt_seconds):
            found = [await asyncio.to_thread(source.find_problems) for source in sources]
    except ConfigurationError:
        raise
    except Exception as error:
        if is_check:
            raise _uncheckable(error) from error
        journal.say("check_failed", logging.WARNING, error=type(error).__name__)
        return []
    problems = [problem for listed in found for problem in listed]
    if problems and not is_check:
        journal.say("accounts_with_problems", logging.WARNING, count=len(problems))
    return problems


def _uncheckable(error: Exception) -> ConfigurationError:
    return ConfigurationError(f"The accounts cannot be checked now: {type(error).__name__}.")


async def check_service(path: Path, login: str | None = None) -> list[str]:
    """Read the file, make the platform and check its accounts, without listening.

    Args:
        path: The configuration file.
        login: Whose account to name, or None.

    Returns:
        A line for each account that cannot sign in as expected, and one for the login.

    Raises:
        ConfigurationError: The text says what to correct.
    """
    service = MailService(path)
    try:
        return await service.check(login)
    finally:
        await service.stop()


async def run_service(path: Path) -> None:
    """Serve until SIGTERM or SIGINT; SIGHUP reloads. A background job's ignored SIGINT stays ignored.

    Raises:
        ConfigurationError: The text says what to correct.
    """
    service = MailService(path)
    loop, ended, wanted = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        loop.add_signal_handler(signal.SIGINT, ended.set)
    loop.add_signal_handler(signal.SIGHUP, wanted.set)
    try:
        await service.start()
        reloading = asyncio.create_task(_reload_when(wanted, service))
        await ended.wait()
        reloading.cancel()
    finally:
        await service.stop()


async def _reload_when(wanted: asyncio.Event, service: MailService) -> None:
    while True:
        await wanted.wait()
        wanted.clear()
        await service.reload()


def _bind_path(path: Path, mode: int, group: str | None) -> socket.socket:
    """Bind beside and rename: the socket is never there with other permissions, or missing."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    bound = socket.socket(socket.AF_UNIX)
    try:
        beside.unlink(missing_ok=True)
        bound.bind(str(beside))
        beside.chmod(0)
        if group is not None:
            shutil.chown(beside, group=group)
        beside.chmod(mode)
        beside.rename(path)
    except BaseException:
        bound.close()
        raise
    return bound


def _bind_port(host: str, port: int) -> socket.socket:
    return socket.create_server(
        (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=BACKLOG
    )


def _notify(*lines: str) -> None:
    """Tell systemd, if it started us. Reference: sd_notify(3)."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.connect("\0" + address[1:] if address.startswith("@") else address)
        channel.sendall("\n".join(lines).encode())
