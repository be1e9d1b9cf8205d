"""What every plugin should keep to, counting in memory and with a file."""

import tempfile
from collections.abc import Mapping, Sequence

from smtp_router.testing import conformance
from smtp_router_least_cost import LeastCost

PRICES: Sequence[Mapping[str, object]] = [
    {"cost_per_1000": 0.5},
    {"tiers": [{"up_to": 50, "cost_per_1000": 0}, {"cost_per_1000": 1}], "monthly_fee": 15},
    {"cost_per_1000": 0.1, "quota": 100, "per": "message"},
]
FOLDER = tempfile.TemporaryDirectory()

test_in_memory = conformance(LeastCost, {"state": None}, downstream_options=PRICES)
test_with_a_file = conformance(
    LeastCost, {"state": f"{FOLDER.name}/costs.db", "currency": "EUR"}, downstream_options=PRICES
)
