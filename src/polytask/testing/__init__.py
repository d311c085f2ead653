"""Contract suites: subclass one, give it one fixture, inherit the laws of the family.

Made for the methods of third parties; polytask's own are tested by nothing less. Needs pytest.
"""

from .aggregators import AggregatorLaws
from .balancers import BalancerLaws
from .sharing import SharingLaws

__all__ = ["AggregatorLaws", "BalancerLaws", "SharingLaws"]
