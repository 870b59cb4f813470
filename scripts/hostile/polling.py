"""Engine.IO over HTTP as attackers speak it: any body in a POST, and no hurry to poll."""

import http.client
import json
import time

from hostile.wire import ATTACKER_ADDRESS, SERVER_ADDRESS, Closed, TimeIsUp


class Polling:
    """An Engine.IO session over HTTP; ``joins``: in ``/``."""

    def __init__(self, port: int, ends_at_s: float, *, joins: bool = True) -> None:
        self.ends_at_s = ends_at_s
        self._http = http.client.HTTPConnection(SERVER_ADDRESS, port, source_address=(ATTACKER_ADDRESS, 0))
        self.path = "/socket.io/?EIO=4&transport=polling"
        opened = json.loads(self._request("GET")[1:])
        self.path += f"&sid={opened['sid']}"
        if joins:
            self.post("40")
            self.poll()

    def post(self, body: str | bytes) -> str:
        """Send packets, and return the answer."""
        return self._request("POST", body.encode() if isinstance(body, str) else body)

    def poll(self) -> str:
        """Return what the server has to say."""
        return self._request("GET")

    def close(self) -> None:
        self._http.close()

    def _request(self, method: str, body: bytes | None = None) -> str:
        self._http.timeout = self.ends_at_s - time.monotonic()
        if self._http.timeout <= 0:
            raise TimeIsUp
        if self._http.sock is not None:
            self._http.sock.settimeout(self._http.timeout)
        try:
            self._http.request(method, self.path, body)
            response = self._http.getresponse()
            text = response.read().decode(errors="replace")
        except TimeoutError:
            self.close()
            raise TimeIsUp from None
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Closed(str(error)) from None
        if response.status != 200:
            self.close()
            raise Closed(f"HTTP status {response.status}")
        return text
