"""Real sessions that a test can hold, or make fail."""

import threading

import numpy as np

from app.engine.devices.choice import open_session
from app.engine.devices.device import Device, Session

TIMEOUT = 120  # seconds; far longer than any test holds a session


class Sessions:
    """Opens sessions; pass `open` as `open_session`."""

    def __init__(self) -> None:
        self.open_error: Exception | None = None  # raised instead of opening a session
        self.run_error: Exception | None = None  # raised instead of running one
        self.runs = 0
        self.started = threading.Event()  # set when a session starts to run
        self.gate = threading.Event()  # the sessions that are opened wait for it when they run
        self.gate.set()

    def open(self, graph: bytes, device: Device, name: str) -> Session:
        if self.open_error is not None:
            raise self.open_error
        return _ControlledSession(open_session(graph, device, name), self)


class _ControlledSession:
    def __init__(self, session: Session, control: Sessions) -> None:
        self._session, self._control, self._gate = session, control, control.gate

    def run(self, **inputs: np.ndarray) -> np.ndarray:
        control = self._control
        control.runs += 1
        control.started.set()
        assert self._gate.wait(TIMEOUT)
        if control.run_error is not None:
            raise control.run_error
        return self._session.run(**inputs)
