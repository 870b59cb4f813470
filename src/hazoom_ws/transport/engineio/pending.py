"""What leaves for a recipient at the end of the loop's turn: frames, in one of three states.

| state | what it is | one more for it alone | one more for all of a room | sent |
|---|---|---|---|---|
| empty | `EMPTY` | own | shared | |
| shared | a tuple, the same object for all who get the same: joined once | own | another shared one | empty |
| own | a list, of this recipient alone | own, longer | own, longer | empty |

A recipient for whom anything is pending is in a queue of the loop, and one for whom nothing is pending need not be: so who
takes frames away has sent them, or has ended the connection.
"""

Shared = tuple[bytes, ...]
Own = list[bytes]
Pending = Shared | Own

EMPTY: Shared = ()


def with_own(pending: Pending, framed: bytes) -> Own:
    """Return what is pending with a frame that no other recipient gets."""
    if type(pending) is list:
        pending.append(framed)
        return pending
    return [*pending, framed]
