"""``cardea camera``: a virtual RTSP camera from video files, with faults on a schedule.

The first line on stdout is the address; messages go to stderr. Ctrl-C or SIGTERM ends it.
"""

import argparse
import asyncio
import os
import signal
import ssl
import sys
from pathlib import Path

from app.cli.logs import log_to_stderr
from app.errors import SetupError
from workers.simulator.certificate import make_certificate, server_context
from workers.simulator.clip import Clip
from workers.simulator.faults import Fault, Injection
from workers.simulator.server import VirtualCamera

PASSWORD_VARIABLE = "CARDEA_CAMERA_PASSWORD"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.description = (
        "Play video files as an RTSP camera (H.264, H.265, MJPEG; TCP and UDP; many clients). The first clip is "
        "played over and over; each fault 'swap' goes on with the next one in the middle of the sessions."
    )
    parser.add_argument("clips", nargs="+", type=Path, metavar="CLIP", help="video file")
    parser.add_argument("--port", type=int, default=8554, help="port to listen on, 0 for a free one (8554)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--fps", type=_positive, help="play the clips at this rate instead of their own")
    parser.add_argument("--user", help=f"ask for this user by Digest; the password is in ${PASSWORD_VARIABLE}")
    parser.add_argument("--password-file", type=Path, help="file that holds the password of --user")
    parser.add_argument("--tls", action="store_true", help="speak RTSPS")
    parser.add_argument("--certificate", type=Path, default=Path("camera.pem"), help="PEM for --tls (camera.pem)")
    parser.add_argument("--key", type=Path, default=Path("camera.key"), help="its key, made with it if missing")
    parser.add_argument(
        "--fault",
        dest="faults",
        action="append",
        type=_injection,
        default=[],
        metavar="NAME[@SECONDS]",
        help=f"one of {', '.join(Fault)}, from so many seconds on; loss=PERCENT; may be given several times",
    )


def run(arguments: argparse.Namespace) -> int:
    """Play until a signal comes.

    Raises:
        SetupError: a clip, the password, the certificate or the port is not usable.
    """
    log_to_stderr("WARNING")
    clips = [Clip.load(path, arguments.fps) for path in arguments.clips]
    if len(clips) < 2 and any(injection.fault is Fault.SWAP for injection in arguments.faults):
        raise SetupError("--fault swap needs a second clip to go on with")
    camera = VirtualCamera(
        clips,
        host=arguments.host,
        port=arguments.port,
        user=arguments.user,
        password=_password(arguments),
        tls=_tls(arguments) if arguments.tls else None,
    )
    try:
        asyncio.run(_play(camera, arguments.faults))
    except OSError as error:
        raise SetupError(f"cannot listen on {arguments.host}:{arguments.port}: {error.strerror}") from error
    return 0


async def _play(camera: VirtualCamera, injections: list[Injection]) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    await camera.start()
    try:
        print(camera.url, flush=True)
        await _follow(camera, injections, stopping)
    finally:
        await camera.stop()


async def _follow(camera: VirtualCamera, injections: list[Injection], stopping: asyncio.Event) -> None:
    """Inject each fault at its time; return when the camera shall stop."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    for injection in sorted(injections, key=lambda injection: injection.after):
        try:
            async with asyncio.timeout_at(started + injection.after):
                await stopping.wait()
            return
        except TimeoutError:
            await camera.inject(injection.fault, injection.percent)
            print(f"{injection.after:g} s: {injection.fault}", file=sys.stderr, flush=True)
    await stopping.wait()


def _password(arguments: argparse.Namespace) -> str:
    if not arguments.user:
        return ""
    if arguments.password_file is None:
        password = os.environ.get(PASSWORD_VARIABLE, "")
        if not password:
            raise SetupError(f"--user needs a password: set {PASSWORD_VARIABLE} or give --password-file")
        return password
    try:
        return str(arguments.password_file.read_text().strip())
    except OSError as error:
        raise SetupError(f"{arguments.password_file} cannot be read: {error.strerror}") from error


def _tls(arguments: argparse.Namespace) -> ssl.SSLContext:
    certificate, key = arguments.certificate, arguments.key
    try:
        if not certificate.exists() and not key.exists():
            hosts = dict.fromkeys(["localhost", "127.0.0.1", "::1", arguments.host])
            make_certificate(list(hosts), certificate, key)
            print(f"made a certificate; clients must trust {certificate}", file=sys.stderr)
        return server_context(certificate, key)
    except OSError as error:
        raise SetupError(f"{certificate} and {key} cannot be used: {error.strerror or error}") from error


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1000:
        raise argparse.ArgumentTypeError(f"{text}: must lie in 0..1000")
    return value


def _injection(text: str) -> Injection:
    try:
        return Injection.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
