"""Orders, of which a room is told."""

from django.db import models


class Order(models.Model):
    item = models.CharField(max_length=100)
