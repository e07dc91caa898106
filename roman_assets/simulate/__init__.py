"""A mini survey with truth, for the demo and the tests."""

from roman_assets.simulate.config import MiniSurvey
from roman_assets.simulate.survey import SimulatedSurvey, simulate_survey

__all__ = ["MiniSurvey", "SimulatedSurvey", "simulate_survey"]
