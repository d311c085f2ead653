"""Contract suites: subclass one, give it one fixture, inherit the laws of the family.

Made for the methods of third parties; polytask's own are tested by nothing less. Needs pytest.
"""

from .aggregators import AggregatorLaws
from .balancers import BalancerLaws

__all__ = ["AggregatorLaws", "BalancerLaws"]
