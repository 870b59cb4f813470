"""Both documents of one application as texts, made when somebody asks for one."""

from functools import cached_property

import msgspec

from hazoom_ws.namespaces.registry import Registry
from hazoom_ws.schema.asyncapi import asyncapi
from hazoom_ws.schema.declared import declared
from hazoom_ws.schema.typescript import typescript
from hazoom_ws.settings import Settings


class Documents:
    """What is declared does not change while an application runs, so each text is made once: it takes 30 ms."""

    def __init__(self, registry: Registry, settings: Settings) -> None:
        self._registry = registry
        self._settings = settings

    @cached_property
    def typescript(self) -> str:
        """The module ``events.d.ts``."""
        return typescript(declared(self._registry, self._settings))

    @cached_property
    def asyncapi(self) -> str:
        """The AsyncAPI document, as JSON that people can read."""
        encoded = msgspec.json.encode(asyncapi(declared(self._registry, self._settings)))
        return f"{msgspec.json.format(encoded, indent=2).decode()}\n"
