"""What a run was made on: the manifest's description of the machine, its name, its hazards.

None of it holds the host's name. What the machine does not tell is absent.
"""

from harness.machine.describe import describe_machine
from harness.machine.hazards import Hazard, hazards
from harness.machine.name import machine_slug

__all__ = ["Hazard", "describe_machine", "hazards", "machine_slug"]
