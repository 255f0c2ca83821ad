"""The exceptions of the shop, printed as CPython, Ruby and Node print them.

Messages carry ids, hosts and amounts that differ from one failure to the next, stacks do not: as in life, one fault
has many messages and one place in the code. BullMQ's instrumentation sends only the message; the stack goes to the log.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from pipeline.demo.records import Thrown

PYTHON_PACKAGES = "/srv/venv/lib/python3.11/site-packages"
RUBY_GEMS = "/srv/bundle/ruby/3.3.0/gems"
NODE_MODULES = "/srv/media/node_modules"


@dataclass(frozen=True, slots=True)
class Frame:
    """A line of a stack: file, line, function and, for Python, the source text."""

    file: str
    line: int
    function: str
    source: str = ""


CELERY_FRAMES = (
    Frame(f"{PYTHON_PACKAGES}/celery/app/trace.py", 564, "trace_task", "R = retval = fun(*args, **kwargs)"),
    Frame(f"{PYTHON_PACKAGES}/celery/app/trace.py", 883, "__protected_call__", "return self.run(*args, **kwargs)"),
)
SIDEKIQ_FRAMES = (
    Frame(f"{RUBY_GEMS}/sidekiq-7.3.9/lib/sidekiq/processor.rb", 220, "execute_job"),
    Frame(f"{RUBY_GEMS}/sidekiq-7.3.9/lib/sidekiq/processor.rb", 185, "block (4 levels) in process"),
    Frame(f"{RUBY_GEMS}/sidekiq-7.3.9/lib/sidekiq/middleware/chain.rb", 180, "traverse"),
    Frame(f"{RUBY_GEMS}/sidekiq-7.3.9/lib/sidekiq/processor.rb", 86, "process_one"),
    Frame(f"{RUBY_GEMS}/sidekiq-7.3.9/lib/sidekiq/component.rb", 10, "watchdog"),
)


def python_traceback(frames: tuple[Frame, ...], kind: str, message: str) -> str:
    """One part of a traceback, oldest frame first, with the caret lines of Python 3.11."""
    lines = ["Traceback (most recent call last):"]
    for frame in frames:
        lines.append(f'  File "{frame.file}", line {frame.line}, in {frame.function}')
        lines.append(f"    {frame.source}")
        if not frame.source.startswith("raise "):
            lines.append("    " + "^" * len(frame.source))
    lines.append(f"{kind}: {message}")
    return "\n".join(lines) + "\n"


def python_error(kind: str, message: str, frames: tuple[Frame, ...], cause: str = "") -> Thrown:
    """An exception in a Celery task; `cause` is the traceback of the exception it was raised from."""
    own = python_traceback(CELERY_FRAMES + frames, kind, message)
    joint = "\nThe above exception was the direct cause of the following exception:\n\n"
    return Thrown(kind, message, f"{cause}{joint}{own}" if cause else own, kind.rsplit(".", 1)[-1])


def ruby_error(kind: str, message: str, frames: tuple[Frame, ...]) -> Thrown:
    """An exception in a Sidekiq job: newest frame first, the message in the first line."""
    first, *others = frames + SIDEKIQ_FRAMES
    lines = [f"{first.file}:{first.line}:in `{first.function}': {message} ({kind})"]
    lines += [f"\tfrom {frame.file}:{frame.line}:in `{frame.function}'" for frame in others]
    return Thrown(kind, message, "\n".join(lines) + "\n", kind)


def node_error(kind: str, message: str, frames: tuple[Frame, ...]) -> Thrown:
    """An error in a BullMQ processor: newest frame first."""
    lines = [f"{kind}: {message}", *(f"    at {f.function} ({f.file}:{f.line}:{7 + f.line % 30})" for f in frames)]
    return Thrown(kind, message, "\n".join(lines), kind)


def _payment_timeout(dice: Random, job: str) -> Thrown:
    host = f"10.2.{dice.randrange(4)}.{dice.randrange(2, 250)}"
    pool = f"{PYTHON_PACKAGES}/urllib3/connectionpool.py"
    cause = python_traceback(
        (
            Frame(pool, 534, "_make_request", "response = conn.getresponse()"),
            Frame(
                f"{PYTHON_PACKAGES}/urllib3/connection.py",
                571,
                "getresponse",
                "httplib_response = super().getresponse()",
            ),
            Frame("/usr/lib/python3.11/socket.py", 718, "readinto", "return self._sock.recv_into(b)"),
        ),
        "TimeoutError",
        "timed out",
    )
    message = f"payments API at {host}:443 timed out after 2.0 s (order {dice.randrange(10_000, 99_999)})"
    frames = (
        Frame(
            "/srv/shop/payments/tasks.py", 61 if job == "ChargePayment" else 94, "run", "receipt = client.post(order)"
        ),
        Frame("/srv/shop/payments/client.py", 38, "post", "raise PaymentTimeout(self.host, order) from error"),
    )
    return python_error("payments.PaymentTimeout", message, frames, cause)


def _card_declined(dice: Random, job: str) -> Thrown:
    reason = dice.choice(("insufficient_funds", "expired_card", "do_not_honor"))
    frames = (
        Frame("/srv/shop/payments/tasks.py", 61, "run", "receipt = client.post(order)"),
        Frame("/srv/shop/payments/client.py", 47, "post", "raise CardDeclined(answer, order)"),
    )
    message = f"card ending {dice.randrange(10_000):04d} declined: {reason} (order {dice.randrange(10_000, 99_999)})"
    return python_error("payments.CardDeclined", message, frames)


def _deadlock(dice: Random, job: str) -> Thrown:
    one, other = dice.randrange(2_000, 30_000), dice.randrange(2_000, 30_000)
    message = (
        f"deadlock detected\nDETAIL:  Process {one} waits for ShareLock on transaction {dice.randrange(10**6, 10**7)}; "
        f"blocked by process {other}."
    )
    frames = (
        Frame(f"/srv/shop/{job.lower()}.py", 88, "run", "rows.save()"),
        Frame(f"{PYTHON_PACKAGES}/psycopg/cursor.py", 97, "execute", "raise ex.with_traceback(None)"),
    )
    return python_error("psycopg.errors.DeadlockDetected", message, frames)


def _out_of_stock(dice: Random, job: str) -> Thrown:
    frames = (Frame("/srv/shop/inventory/tasks.py", 30, "reserve", "raise Ignore()"),)
    return python_error("celery.exceptions.Ignore", f"sku-{dice.randrange(100, 999)} is sold out", frames)


def _no_warehouse(dice: Random, job: str) -> Thrown:
    frames = (
        Frame("/srv/shop/orders/fulfilment.py", 112, "fulfil", "label = print_label(route_for(order))"),
        Frame("/srv/shop/orders/routing.py", 45, "route_for", "return routes[order.warehouse.id]"),
    )
    return python_error("AttributeError", "'NoneType' object has no attribute 'id'", frames)


def _soft_limit(dice: Random, job: str) -> Thrown:
    frames = (
        Frame("/srv/shop/reports/tasks.py", 71, "build", "rows = self.collect(month)"),
        Frame(f"{PYTHON_PACKAGES}/billiard/pool.py", 229, "soft_timeout_sighandler", "raise SoftTimeLimitExceeded()"),
    )
    return python_error("billiard.exceptions.SoftTimeLimitExceeded", "SoftTimeLimitExceeded()", frames)


def _warehouse_refused(dice: Random, job: str) -> Thrown:
    message = f"[Errno 111] Connection refused: warehouse-{dice.randrange(1, 9)}.example.com:8443"
    frames = (
        Frame("/srv/shop/inventory/sync.py", 27, "pull", "page = warehouse.stock(page=number)"),
        Frame("/srv/shop/inventory/warehouse.py", 19, "stock", "sock.connect(self.address)"),
    )
    return python_error("ConnectionRefusedError", message, frames)


def _mail_timeout(dice: Random, job: str) -> Thrown:
    frames = (
        Frame("/usr/lib/ruby/3.3.0/net/protocol.rb", 219, "rbuf_fill"),
        Frame("/usr/lib/ruby/3.3.0/net/http.rb", 2342, "transport_request"),
        Frame("/srv/mailer/app/mail_client.rb", 24, "deliver"),
        Frame(f"/srv/mailer/app/jobs/{job}.rb", 15, "perform"),
    )
    return ruby_error(
        "Net::ReadTimeout", f"Net::ReadTimeout with #<TCPSocket:(closed) {hex(dice.getrandbits(44))}>", frames
    )


def _mail_busy(dice: Random, job: str) -> Thrown:
    frames = (
        Frame("/srv/mailer/app/mail_client.rb", 31, "deliver"),
        Frame(f"/srv/mailer/app/jobs/{job}.rb", 12, "perform"),
    )
    message = f"429 Too Many Requests: try user{dice.randrange(1, 9999)}@example.org again in {dice.randrange(1, 30)} s"
    return ruby_error("MailClient::RateLimited", message, frames)


def _no_email(dice: Random, job: str) -> Thrown:
    frames = (
        Frame("/srv/mailer/app/jobs/notify.rb", 21, "perform"),
        Frame("/srv/mailer/app/jobs/base.rb", 9, "call"),
    )
    return ruby_error("NoMethodError", "undefined method `email' for nil:NilClass", frames)


def _bad_image(dice: Random, job: str) -> Thrown:
    frames = (
        Frame("/srv/media/dist/resize.js", 41, "resize"),
        Frame("/srv/media/dist/workers.js", 18, "processor"),
        Frame("node:internal/process/task_queues", 95, "process.processTicksAndRejections"),
    )
    message = f"/var/uploads/{dice.getrandbits(32):08x}.jpg: Input buffer contains unsupported image format"
    return node_error("UnrecoverableError", message, frames)


def _store_reset(dice: Random, job: str) -> Thrown:
    frames = (
        Frame("node:internal/stream_base_commons", 216, "TLSWrap.onStreamRead"),
        Frame(f"{NODE_MODULES}/@smithy/node-http-handler/dist-cjs/index.js", 68, "NodeHttpHandler.handle"),
        Frame("/srv/media/dist/store.js", 33, "async Store.put"),
        Frame("/srv/media/dist/workers.js", 22, "async processor"),
    )
    return node_error("Error", f"read ECONNRESET 10.9.{dice.randrange(4)}.{dice.randrange(2, 250)}:443", frames)


def _render_crash(dice: Random, job: str) -> Thrown:
    frames = (
        Frame("/srv/media/dist/pdf.js", 77, "async Renderer.page"),
        Frame("/srv/media/dist/workers.js", 31, "async processor"),
    )
    return node_error("TargetCloseError", f"Protocol error: page {dice.getrandbits(64):016X} closed", frames)


def _web_bug(dice: Random, job: str) -> Thrown:
    frames = (
        Frame(f"{PYTHON_PACKAGES}/flask/app.py", 919, "full_dispatch_request", "rv = self.dispatch_request()"),
        Frame("/srv/shop/web/orders.py", 52, "show", "return render(order, parcels[order.id])"),
    )
    message = str(dice.randrange(10_000, 99_999))
    return Thrown("KeyError", message, python_traceback(frames, "KeyError", message), "KeyError")


# Keyed by `Fault.what`; called with the flow's dice and the class of the job that fails.
FAULTS: dict[str, Callable[[Random, str], Thrown]] = {
    "payment_timeout": _payment_timeout,
    "card_declined": _card_declined,
    "deadlock": _deadlock,
    "out_of_stock": _out_of_stock,
    "no_warehouse": _no_warehouse,
    "soft_limit": _soft_limit,
    "warehouse_refused": _warehouse_refused,
    "mail_timeout": _mail_timeout,
    "mail_busy": _mail_busy,
    "no_email": _no_email,
    "bad_image": _bad_image,
    "store_reset": _store_reset,
    "render_crash": _render_crash,
    "web_bug": _web_bug,
}
