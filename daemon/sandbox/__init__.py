"""Stand-ins that speak the providers' wire protocols, with phones to look at.

They share no code or data with what sends: their ledger is an independent witness.
"""

from __future__ import annotations

from daemon.sandbox.app import Sandbox
from daemon.sandbox.behaviours import Behaviour, behaviours
from daemon.sandbox.faults import Faults
from daemon.sandbox.settings import SandboxSettings

__all__ = ["Behaviour", "Faults", "Sandbox", "SandboxSettings", "behaviours"]
