import os
import signal

import pytest

from ssl_jax.training.shutdown import ShutdownSignal


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_requests_a_shutdown(number):
    handler = signal.getsignal(number)
    with ShutdownSignal() as stop:
        assert not stop.poll()
        os.kill(os.getpid(), number)
        assert stop.poll()
        assert stop.requested
    assert signal.getsignal(number) == handler


def test_a_second_ctrl_c_interrupts_immediately():
    with ShutdownSignal():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
