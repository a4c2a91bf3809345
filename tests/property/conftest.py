"""The profile of the property tests."""

from __future__ import annotations

import hypothesis

# How long an example takes depends on what else the machine does; what bounds a test is pytest's timeout.
hypothesis.settings.register_profile("npserver", deadline=None)
hypothesis.settings.load_profile("npserver")
