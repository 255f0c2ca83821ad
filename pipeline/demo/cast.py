"""The shop as data: its processes, job classes, what they call, and what goes wrong with them.

Times are milliseconds of shop time; chances are per attempt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipeline.demo.records import System

PAYMENTS = "payments-api"
"""The dependency that fails during the outage."""

DEPLOYED_SERVICE = "shop-workers"
VERSIONS = {"shop-web": "5.3.0", "shop-workers": "2.14.0", "mailer": "1.9.2", "media": "4.0.1"}
BROKEN_VERSION = "2.15.0"
FIXED_VERSION = "2.15.1"
BROKEN_FROM, BROKEN_UNTIL = 0.74, 0.88
"""When the broken version of the workers runs, as shares of the run."""

LANGUAGES: dict[str, Literal["python", "ruby", "nodejs"]] = {
    "shop-web": "python",
    "shop-workers": "python",
    "mailer": "ruby",
    "media": "nodejs",
}

PROCESSES: dict[tuple[str, str], tuple[str, ...]] = {
    ("shop-web", "web"): ("web-1", "web-2"),
    ("shop-workers", "worker"): ("worker-1", "worker-2", "worker-3"),
    ("shop-workers", "beat"): ("beat-1",),
    ("mailer", "web"): ("mail-web-1",),
    ("mailer", "worker"): ("mail-1", "mail-2"),
    ("media", "web"): ("media-web-1",),
    ("media", "worker"): ("media-1", "media-2"),
}
"""(service, role) -> host names; one process a host."""

SERVICE_OF: dict[System, str] = {"celery": "shop-workers", "sidekiq": "mailer", "bullmq": "media"}


@dataclass(frozen=True, slots=True)
class Dependency:
    """Something a job calls, and how the client's span looks."""

    peer: str
    style: Literal["http", "sql", "old_http", "s3"]
    address: str
    operation: str
    target: str
    median_ms: float


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to fail. `what` names the exception in `faults.py`.

    `at`: the peer whose call fails; `takes_ms`: how long that call takes then. `in_outage` replaces `chance` while the
    payments API is down; `version` limits the fault to one version of the service. One that `stays` fails every later
    attempt too.
    """

    what: str
    chance: float
    in_outage: float | None = None
    at: str | None = None
    takes_ms: float | None = None
    retry: bool = True
    discards: bool = False
    stays: bool = False
    version: str | None = None


@dataclass(frozen=True, slots=True)
class JobClass:
    """One class of jobs. `median_ms` is work beside the calls; `wait_ms` the median wait in the queue."""

    name: str
    system: System
    queue: str
    median_ms: float
    wait_ms: float
    calls: tuple[Dependency, ...] = ()
    faults: tuple[Fault, ...] = ()
    attempts: int = 1
    backoff_ms: float = 1000.0
    spread: float = 0.35


ORDERS_DB = Dependency("shop-db", "sql", "db-1.shop.internal", "UPDATE", "orders", 4)
STOCK_DB = Dependency("shop-db", "sql", "db-1.shop.internal", "UPDATE", "stock_items", 6)
CARTS_DB = Dependency("shop-db", "sql", "db-1.shop.internal", "DELETE", "carts", 15)
REPORT_DB = Dependency("shop-db", "sql", "db-1.shop.internal", "SELECT", "order_lines", 700)
CHARGES = Dependency(PAYMENTS, "http", "payments.example.com", "POST", "/v1/charges", 160)
REFUNDS = Dependency(PAYMENTS, "http", "payments.example.com", "POST", "/v1/refunds", 140)
WAREHOUSE = Dependency("warehouse-api", "http", "warehouse.example.com", "GET", "/stock", 90)
SEARCH = Dependency("search", "http", "search.shop.internal", "POST", "/products/_bulk", 35)
MAIL = Dependency("mail-api", "old_http", "api.mail.example.com", "POST", "/messages", 70)
STORE = Dependency("object-store", "s3", "s3.eu-central-1.example.com", "PutObject", "shop-media", 30)

JOBS: dict[str, JobClass] = {
    job.name: job
    for job in (
        JobClass(
            "ProcessOrderJob", "celery", "orders", 40, 15, (ORDERS_DB,), (Fault("deadlock", 0.01, at="shop-db"),), 3
        ),
        JobClass(
            "ReserveInventory",
            "celery",
            "inventory",
            25,
            20,
            (STOCK_DB,),
            (Fault("deadlock", 0.02, at="shop-db"), Fault("out_of_stock", 0.04, retry=False, discards=True)),
            3,
            800,
        ),
        JobClass(
            "ChargePayment",
            "celery",
            "payments",
            30,
            25,
            (CHARGES,),
            (
                Fault("payment_timeout", 0.01, in_outage=0.88, at=PAYMENTS, takes_ms=2000),
                Fault("card_declined", 0.04, retry=False),
            ),
            3,
            1000,
        ),
        JobClass(
            "Fulfil",
            "celery",
            "orders",
            110,
            15,
            (ORDERS_DB,),
            (Fault("no_warehouse", 0.5, version=BROKEN_VERSION, retry=False),),
            2,
        ),
        JobClass(
            "Refund",
            "celery",
            "payments",
            35,
            25,
            (REFUNDS,),
            (Fault("payment_timeout", 0.01, in_outage=0.5, at=PAYMENTS, takes_ms=2000),),
            4,
            1500,
        ),
        JobClass("CheckDelivery", "celery", "low", 20, 60, (ORDERS_DB,)),
        JobClass(
            "BuildReport",
            "celery",
            "reports",
            2600,
            300,
            (REPORT_DB,),
            (Fault("soft_limit", 0.08, retry=False),),
            1,
            spread=0.5,
        ),
        JobClass(
            "SyncStock",
            "celery",
            "low",
            60,
            60,
            (WAREHOUSE,),
            (Fault("warehouse_refused", 0.06, at="warehouse-api", takes_ms=15),),
            4,
            1000,
        ),
        JobClass("RecountStock", "celery", "low", 45, 60, (STOCK_DB,)),
        JobClass("ReindexProduct", "celery", "low", 30, 60, (SEARCH,)),
        JobClass("ExpireCarts", "celery", "low", 30, 60, (CARTS_DB,), (Fault("deadlock", 0.05, at="shop-db"),), 2),
        JobClass(
            "SendReceipt",
            "sidekiq",
            "mailers",
            15,
            30,
            (MAIL,),
            (Fault("mail_timeout", 0.04, at="mail-api", takes_ms=1000),),
            4,
            1500,
        ),
        JobClass(
            "Notify",
            "sidekiq",
            "mailers",
            12,
            30,
            (MAIL,),
            (Fault("no_email", 0.02, stays=True), Fault("mail_timeout", 0.02, at="mail-api", takes_ms=1000)),
            3,
            1500,
        ),
        JobClass(
            "SendWelcome", "sidekiq", "mailers", 15, 30, (MAIL,), (Fault("mail_busy", 0.05, at="mail-api"),), 3, 1500
        ),
        JobClass("SendReminder", "sidekiq", "low", 15, 90, (MAIL,)),
        JobClass("PlanDigest", "sidekiq", "low", 50, 90),
        JobClass("SendDigest", "sidekiq", "low", 20, 90, (MAIL,), (Fault("mail_busy", 0.03, at="mail-api"),), 3, 1500),
        JobClass(
            "resize",
            "bullmq",
            "images",
            220,
            20,
            (STORE,),
            (Fault("bad_image", 0.05, retry=False), Fault("store_reset", 0.04, at="object-store")),
            3,
            800,
            spread=0.5,
        ),
        JobClass(
            "thumbnail",
            "bullmq",
            "thumbnails",
            60,
            15,
            (STORE,),
            (Fault("store_reset", 0.02, at="object-store"),),
            3,
            800,
        ),
        JobClass("render-invoice", "bullmq", "invoices", 130, 20, (STORE,), (Fault("render_crash", 0.02),), 3, 800),
        JobClass("clean-uploads", "bullmq", "low", 90, 40, (STORE,)),
    )
}


@dataclass(frozen=True, slots=True)
class Timer:
    """A job that a clock enqueues, every `every_s` seconds of shop time."""

    job: str
    every_s: float


TIMERS = (Timer("SyncStock", 5.0), Timer("ExpireCarts", 7.0), Timer("PlanDigest", 11.0), Timer("clean-uploads", 13.0))

REQUESTS: tuple[tuple[str, str, float], ...] = (
    ("GET", "/products", 24),
    ("GET", "/orders", 14),
    ("POST", "/orders", 36),
    ("POST", "/products/{id}/images", 12),
    ("POST", "/signup", 10),
    ("POST", "/reports", 4),
)
"""(method, route, weight) of what visitors ask for."""
