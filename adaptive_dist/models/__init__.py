"""Models in Flax: without it there is nothing here, and the error says how to install it."""
from ..config.errors import needs

needs("flax")
