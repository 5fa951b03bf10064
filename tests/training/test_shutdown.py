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


def test_work_in_which_processes_do_not_meet_learns_of_a_signal_and_agrees_to_stop():
    with ShutdownSignal() as stop:
        assert not stop.is_announced()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.is_announced()
        assert not stop.requested
        assert stop.agree(True)
        assert stop.requested
    assert not ShutdownSignal().agree(False)
