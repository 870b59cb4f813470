"""What all tests share: examples of hypothesis take as long as they take, however slow or busy the machine is.

And Ctrl-C ends what the tests start, be they themselves started in the background, where a shell has it ignored.
"""

import signal

from hypothesis import HealthCheck, settings

settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
