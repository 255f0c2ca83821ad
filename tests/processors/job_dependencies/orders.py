"""The workflow of an order, as a shop's services tell of it: the fixture behind the picture in the README.

A web request enqueues ProcessOrderJob, which reserves stock, sends the receipt and has the card charged by another
service, whose jobs have traces of their own. A charge leads to fulfilment, a refused one to a refund; the customer is
notified of both.
"""

from __future__ import annotations

from tests.processors.job_dependencies.world import World

DATABASE = {"db.system.name": "postgresql", "db.namespace": "shop", "server.address": "db-1"}
PAYMENTS = {"peer.service": "payments-api", "server.address": "payments.example.com"}
MAIL = {"http.request.method": "POST", "url.full": "https://api.mail.example.com/messages"}


def orders(number: int = 200) -> World:
    """Return the workflows of so many orders; of twenty charges one fails, of twenty mails one is tried again."""
    world = World()
    for order in range(number):
        refused, busy = order % 20 == 7, order % 20 == 3
        request = world.request("POST /orders", "shop-web")
        world.call(request, "postgresql/shop", DATABASE)
        (process,) = world.job(request, "ProcessOrderJob", "shop-worker", between=1)
        world.call(process, "postgresql/shop", DATABASE, between=1)
        (reserve,) = world.job(process, "ReserveInventory", "shop-worker")
        world.call(reserve, "postgresql/shop", DATABASE)
        (receipt,) = world.job(process, "SendReceipt", "mailer", outcomes=[False, True] if busy else [True])
        world.call(receipt, "api.mail.example.com", MAIL)
        (charge,) = world.job(process, "ChargePayment", "billing", link=True, outcomes=[not refused])
        world.call(charge, "payments-api", PAYMENTS, ok=not refused)
        (end,) = world.job(
            charge, "Refund" if refused else "Fulfil", "billing" if refused else "shop-worker", link=True
        )
        (notice,) = world.job(end, "Notify", "mailer")
        world.call(notice, "api.mail.example.com", MAIL)
    return world
