"""What rooms are told of."""

import logging
from functools import partial

from django.contrib.auth.signals import user_logged_out
from django.db import transaction
from django.db.models.signals import post_save
from django.dispatch import receiver

from shop import hazoom
from shop.models import Order

logger = logging.getLogger(__name__)


@receiver(post_save, sender=Order)
def tell_of_order(instance, created, **_):
    if created:
        transaction.on_commit(partial(announce, instance))


def announce(order):
    try:
        hazoom.publish("orders", f"New order: {order.item}", "Shop", client_id=f"order {order.pk}")
    except OSError:  # hazoom_ws is down, or has refused it: an order is an order all the same
        logger.exception("the room was not told of order %s", order.pk)


@receiver(user_logged_out)
def end_connections(user, **_):
    if user is not None:
        hazoom.disconnect_user(user.pk)
