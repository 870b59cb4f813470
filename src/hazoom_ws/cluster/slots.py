"""The slots (`llm_bridge.slots`) that users and addresses hold on each process: what has changed is told to all.

Called within turns.
"""

from collections.abc import Callable, Iterable

from hazoom_ws.chat.presence import User
from hazoom_ws.cluster.answer_notes import SlotCount, Slots
from hazoom_ws.llm_bridge import slots as llm_slots


class SlotsElsewhere:
    """What one process tells of its slots and hears of those of others. ``publish(note)`` tells all of them."""

    def __init__(self, slots: llm_slots.Slots, publish: Callable[[Slots], object]) -> None:
        self._slots = slots
        self._publish = publish
        self._changed: dict[tuple[str, str], None] = {}  # "user" or "address", and which

    def note_changed(self, user: User, address: str) -> None:
        """Note that a user and an address hold more or fewer slots here than before."""
        self._changed["user", user.id] = None
        if address:
            self._changed["address", address] = None

    def tell_changed(self) -> None:
        """Tell what has changed."""
        if self._changed:
            changed, self._changed = self._changed, {}
            self._publish(self._counts(changed))

    def tell_again(self) -> None:
        """Tell all there is when it is told next."""
        self._changed.update(dict.fromkeys(self._held()))

    def all(self) -> Slots:
        """Return what there is."""
        return self._counts(self._held())

    def hear(self, process: str, note: Slots) -> None:
        """Note what another process has told."""
        for count in note.counts:
            self._slots.elsewhere.note(process, *count)

    def _held(self) -> list[tuple[str, str]]:
        taken = (self._slots.running, self._slots.waiting)
        users = {user_id for places in taken for user_id in places.of_user}
        addresses = {address for places in taken for address in places.of_address}
        return [*(("user", user_id) for user_id in users), *(("address", address) for address in addresses)]

    def _counts(self, names: Iterable[tuple[str, str]]) -> Slots:
        counts: list[SlotCount] = []
        for whose, key in names:
            for place, taken in (("running", self._slots.running), ("waiting", self._slots.waiting)):
                of = taken.of_user if whose == "user" else taken.of_address
                counts.append((place, whose, key, of.get(key, 0)))
        return Slots(counts)
