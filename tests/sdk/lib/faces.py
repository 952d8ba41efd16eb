"""The two faces of E2B's package of PyPI under the same names: the synchronous classes, or the asynchronous ones, whichever
FLOTILLA_FACE says (sync or async)."""
import asyncio
import inspect
import os

import e2b

SYNC = os.environ["FLOTILLA_FACE"] == "sync"
Sandbox, Secret, Volume, Template = (getattr(e2b, name if SYNC else f"Async{name}") for name in ("Sandbox", "Secret", "Volume", "Template"))
# A new terminal tells what it shows at once, or in its handle.
ON_DATA = {} if SYNC else {"on_data": lambda data: None}
loop = asyncio.new_event_loop()


def wait(answer):
    """What a call answers, now or later."""
    async def whole():
        return await answer
    return loop.run_until_complete(whole()) if inspect.isawaitable(answer) else answer


def drain(stream):
    """All of a stream of bytes, whichever way it is read."""
    async def gather():
        return b"".join([bytes(piece) async for piece in stream])
    return loop.run_until_complete(gather()) if hasattr(stream, "__aiter__") else b"".join(bytes(piece) for piece in stream)


def streamed(of, pid, *pieces):
    """Input in pieces, each its own message of one stream, to a command or a terminal."""
    async def send():
        handle = of.stream_input(pid, timeout=60)
        for piece in pieces:
            await handle.send(piece)
        await handle.close()
    if SYNC:
        of.stream_input(pid, iter(pieces), timeout=60)
    else:
        loop.run_until_complete(send())


def refused(kinds, call, *args, **options):
    """The exception of one of these kinds that a call ends with."""
    try:
        answer = wait(call(*args, **options))
    except kinds as error:
        return error
    raise AssertionError(f"answered {answer!r}")
